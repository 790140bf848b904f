//! A symmetric chain: one message key after the other, none to be had backwards.
//!
//! ```text
//! mk_n   = HMAC(ck_n, 0x01 | n u32)
//! ck_n+1 = HMAC(ck_n, 0x02 | n u32)
//! ```
//! The EC and the PQ ratchet share this code, and a type parameter keeps their keys apart.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};

use super::MAX_SKIPPED_KEYS;
use crate::{
    Error,
    crypto::{kdf, secret::Secret},
};

/// Chains and message keys of the EC ratchet.
#[derive(Debug)]
pub(crate) enum Ec {}

/// Chains and message keys of the PQ ratchet.
#[derive(Debug)]
pub(crate) enum Pq {}

/// mk: half of what one message's key is made of.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct MessageKey<R>(Secret<32>, PhantomData<R>);

impl<R> MessageKey<R> {
    fn new(secret: Secret<32>) -> Self {
        Self(secret, PhantomData)
    }

    /// A key that was come by otherwise than by its chain.
    #[cfg(test)]
    pub(crate) fn stolen(bytes: [u8; 32]) -> Self {
        Self::new(Secret::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// A stored key once more, for an attempt that may fail and must leave the store as it is.
    pub(crate) fn duplicate(&self) -> Self {
        Self::new(Secret::new(*self.as_bytes()))
    }
}

impl<R> fmt::Debug for MessageKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKey([secret])")
    }
}

/// ck and n: a chain at a position.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Chain<R> {
    key: Secret<32>,
    next: u32,
    role: PhantomData<R>,
}

/// A chain moved forward to a message, and what lay between.
pub(crate) struct Ahead<R> {
    /// The chain behind the message.
    pub(crate) chain: Chain<R>,
    pub(crate) skipped: SkippedRun<R>,
    pub(crate) message_key: MessageKey<R>,
}

/// Keys of messages that were skipped over, ascending.
pub(crate) struct SkippedRun<R> {
    /// Boxed, so that moving the collections they end up in leaves no copies of them.
    pub(crate) keys: Vec<(u32, Box<MessageKey<R>>)>,
    /// If only the newest keys of the run were kept: those below this number were not.
    pub(crate) dropped_below: Option<u32>,
}

impl<R> Chain<R> {
    pub(crate) fn new(key: Secret<32>) -> Self {
        Self { key, next: 0, role: PhantomData }
    }

    /// The number of the next message.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Whether another message can be sent. The last number is never used, so counters never wrap.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.next == u32::MAX { Err(Error::CounterExhausted) } else { Ok(()) }
    }

    /// Steps: the number and key of the next message.
    pub(crate) fn advance(&mut self) -> Result<(u32, MessageKey<R>), Error> {
        let (message_key, stepped) = self.step()?;
        let number = self.next;
        *self = stepped;
        Ok((number, message_key))
    }

    /// Derives the key of message `number`, which is not behind, without changing anything. Of the messages
    /// skipped over, it keeps the keys of the newest, at most [`MAX_SKIPPED_KEYS`].
    pub(crate) fn look_ahead(&self, number: u32, max_skip: u32) -> Result<Ahead<R>, Error> {
        let (before, skipped) = self.skip_to(number, max_skip, MAX_SKIPPED_KEYS)?;
        let (message_key, chain) = before.as_ref().unwrap_or(self).step().map_err(|_| Error::TooFarAhead)?;
        Ok(Ahead { chain, skipped, message_key })
    }

    /// The same, keeping the keys that `is_kept` says. It is asked in ascending order.
    pub(crate) fn look_ahead_for(
        &self,
        number: u32,
        max_skip: u32,
        is_kept: impl FnMut(u32) -> bool,
    ) -> Result<Ahead<R>, Error> {
        let (before, skipped) = self.skip(number, max_skip, is_kept)?;
        let (message_key, chain) = before.as_ref().unwrap_or(self).step().map_err(|_| Error::TooFarAhead)?;
        Ok(Ahead { chain, skipped, message_key })
    }

    /// Derives the keys of the messages before `end`, and keeps the newest, at most `keep`. The chain at `end`, unless it is
    /// there already.
    pub(crate) fn skip_to(
        &self,
        end: u32,
        max_skip: u32,
        keep: usize,
    ) -> Result<(Option<Self>, SkippedRun<R>), Error> {
        let first_kept = end - end.saturating_sub(self.next).min(keep.min(MAX_SKIPPED_KEYS) as u32);
        let (chain, mut skipped) = self.skip(end, max_skip, |number| number >= first_kept)?;
        skipped.dropped_below = (first_kept > self.next).then_some(first_kept);
        Ok((chain, skipped))
    }

    fn skip(
        &self,
        end: u32,
        max_skip: u32,
        mut is_kept: impl FnMut(u32) -> bool,
    ) -> Result<(Option<Self>, SkippedRun<R>), Error> {
        if end.saturating_sub(self.next) > max_skip {
            return Err(Error::TooFarAhead);
        }
        let mut skipped = SkippedRun { keys: Vec::new(), dropped_below: None };
        let mut chain: Option<Self> = None;
        for number in self.next..end {
            let at = chain.as_ref().unwrap_or(self);
            if is_kept(number) {
                let (message_key, stepped) = at.step()?;
                skipped.keys.push((number, Box::new(message_key)));
                chain = Some(stepped);
            } else {
                let key = kdf::chain_skip(at.key.as_bytes(), &number.to_be_bytes());
                chain = Some(Self { key, next: number + 1, role: PhantomData });
            }
        }
        Ok((chain, skipped))
    }

    fn step(&self) -> Result<(MessageKey<R>, Self), Error> {
        let next = self.next.checked_add(1).ok_or(Error::CounterExhausted)?;
        let (message_key, key) = kdf::chain_step(self.key.as_bytes(), &self.next.to_be_bytes());
        Ok((MessageKey::new(message_key), Self { key, next, role: PhantomData }))
    }

    /// The key of a message to who has copied the chain; of one behind, what the key that is left gives.
    #[cfg(test)]
    pub(crate) fn stolen_key(&self, number: u32) -> Result<MessageKey<R>, Error> {
        if number < self.next {
            return Ok(Self::at(*self.key.as_bytes(), number).step()?.0);
        }
        Ok(self.look_ahead_for(number, u32::MAX, |_| false)?.message_key)
    }

    /// A chain at a position, to test the ends of the range.
    #[cfg(test)]
    pub(crate) fn at(key: [u8; 32], next: u32) -> Self {
        Self { key: Secret::new(key), next, role: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    fn keys_in_order(count: u32) -> Vec<[u8; 32]> {
        let mut chain = Chain::<Ec>::at([3; 32], 0);
        (0..count).map(|_| *chain.advance().unwrap().1.as_bytes()).collect()
    }

    #[test]
    fn a26_debug_shows_nothing_of_a_key() {
        let (_, key) = Chain::<Ec>::at([3; 32], 0).advance().unwrap();
        assert_eq!(alloc::format!("{key:?}"), "MessageKey([secret])");
    }

    #[test]
    fn looking_ahead_agrees_with_stepping() {
        let expected = keys_in_order(3000);
        assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), 3000, "a key of its own for each message");
        let chain = Chain::<Ec>::at([3; 32], 0);
        for number in [0, 1, 2, 50, 1999, 2000, 2001, 2999] {
            let ahead = chain.look_ahead(number, 25_000).unwrap();
            assert_eq!(ahead.message_key.as_bytes(), &expected[number as usize]);
            assert_eq!(ahead.chain.next(), number + 1);
            let kept = number.min(2000);
            assert_eq!(ahead.skipped.keys.len(), kept as usize);
            assert_eq!(ahead.skipped.dropped_below, (number > 2000).then(|| number - 2000));
            for (skipped, key) in &ahead.skipped.keys {
                assert_eq!(key.as_bytes(), &expected[*skipped as usize]);
            }
            let some = chain.look_ahead_for(number, 25_000, |number| number % 7 == 3).unwrap();
            assert_eq!(some.message_key.as_bytes(), &expected[number as usize]);
            assert!(some.skipped.keys.iter().map(|(skipped, _)| *skipped).eq((3..number).step_by(7)));
            for (skipped, key) in &some.skipped.keys {
                assert_eq!(key.as_bytes(), &expected[*skipped as usize]);
            }
        }
        assert_eq!(chain.next(), 0);
    }

    #[test]
    fn a11_counters_end_before_they_wrap() {
        let mut chain = Chain::<Pq>::at([1; 32], u32::MAX - 1);
        assert_eq!(chain.check(), Ok(()));
        assert_eq!(chain.advance().map(|(number, _)| number), Ok(u32::MAX - 1));
        assert_eq!(chain.check(), Err(Error::CounterExhausted));
        assert_eq!(chain.advance().err(), Some(Error::CounterExhausted));
        assert_eq!(chain.next(), u32::MAX);
        let chain = Chain::<Pq>::at([1; 32], u32::MAX - 1);
        assert_eq!(chain.look_ahead(u32::MAX, 10).err(), Some(Error::TooFarAhead));
    }

    #[test]
    fn too_far_is_refused() {
        let chain = Chain::<Ec>::at([1; 32], 10);
        assert!(chain.look_ahead(10 + 25_000, 25_000).is_ok());
        assert_eq!(chain.look_ahead(11 + 25_000, 25_000).err(), Some(Error::TooFarAhead));
    }
}

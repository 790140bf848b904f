//! The PQ ratchet: symmetric chains per epoch, both directions (Double Ratchet, revision 4, section 5).
//!
//! Live from the first message: epoch 0 is keyed by the post-quantum handshake, and no message can be read
//! without its PQ message key. This release stays in epoch 0.
//!
//! Not its concern: where an epoch's key comes from.

use serde::{Deserialize, Serialize};

use super::{
    MAX_PQ_SKIP, PqRootKey,
    chain::{Chain, MessageKey, Pq, SkippedRun},
    skipped::SkippedMessageKeys,
};
use crate::{
    Error,
    crypto::{
        kdf::{self, Label},
        secret::Secret,
        trace,
    },
    wire::header::Header,
};

/// Which way a side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// The hot half of the PQ ratchet.
#[derive(Serialize, Deserialize)]
pub(crate) struct PqRatchet {
    root: PqRootKey,
    epoch: u32,
    sending: Chain<Pq>,
    receiving: Chain<Pq>,
}

/// The cold half: keys of missing messages, by epoch and number.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct PqCold {
    keys: SkippedMessageKeys<Pq>,
}

/// What a message changes in the PQ ratchet, once it has authenticated.
pub(crate) struct PqReceipt {
    pub(crate) message_key: MessageKey<Pq>,
    epoch: u32,
    number: u32,
    /// The receiving chain moves on, unless a missing message has arrived.
    advance: Option<(Chain<Pq>, SkippedRun<Pq>)>,
}

impl PqRatchet {
    /// KDF_SCKA_INIT: (root, CK A->B, CK B->A) = HKDF(salt zeros, ikm secret), 96 bytes.
    pub(crate) fn start(secret: &PqRootKey, role: Role) -> Self {
        let derived: Secret<96> = kdf::derive(&[0; 32], secret.as_bytes(), Label::PQ_START, [&[], &[]]);
        let [root, initiator, responder] = kdf::split(&derived);
        trace!("PQ root key", root.as_bytes());
        trace!("PQ chain key A->B", initiator.as_bytes());
        trace!("PQ chain key B->A", responder.as_bytes());
        let (sending, receiving) = match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        Self {
            root: PqRootKey::new(root),
            epoch: 0,
            sending: Chain::new(sending),
            receiving: Chain::new(receiving),
        }
    }

    /// Whether another message can be sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.sending.check()
    }

    /// Steps the sending chain: (epoch, number, key).
    pub(crate) fn send(&mut self) -> Result<(u32, u32, MessageKey<Pq>), Error> {
        let (number, message_key) = self.sending.advance()?;
        Ok((self.epoch, number, message_key))
    }

    /// Derives the message key of an authenticated header, and what will change. Changes nothing. Of messages
    /// skipped over, it keeps at most `keep` keys.
    pub(crate) fn receive(&self, cold: &PqCold, header: &Header, keep: usize) -> Result<PqReceipt, Error> {
        let (epoch, number) = (header.pq_epoch, header.pq_message_number);
        if epoch != self.epoch {
            return Err(Error::Malformed);
        }
        if number >= self.receiving.next() {
            let ahead = self.receiving.look_ahead(number, MAX_PQ_SKIP, keep)?;
            let advance = Some((ahead.chain, ahead.skipped));
            return Ok(PqReceipt { message_key: ahead.message_key, epoch, number, advance });
        }
        let message_key = cold.keys.get(epoch, number).ok_or(Error::TooOld)?.duplicate();
        Ok(PqReceipt { message_key, epoch, number, advance: None })
    }

    /// Puts a receipt into force. Whether the cold half has changed.
    pub(crate) fn commit(&mut self, cold: &mut PqCold, receipt: PqReceipt) -> bool {
        match receipt.advance {
            None => {
                cold.keys.remove(receipt.epoch, receipt.number);
                true
            }
            Some((chain, skipped)) => {
                self.receiving = chain;
                let any = !skipped.keys.is_empty();
                cold.keys.insert(receipt.epoch, skipped, |_, _| {});
                any
            }
        }
    }
}

#[cfg(test)]
impl PqRatchet {
    /// Moves the sending chain to a number, with a key of its own.
    pub(crate) fn set_sending_number(&mut self, number: u32) {
        self.sending = Chain::at([1; 32], number);
    }
}

#[cfg(test)]
impl PqCold {
    /// The state that takes the most bytes.
    pub(crate) fn largest() -> Self {
        Self { keys: SkippedMessageKeys::largest() }
    }
}

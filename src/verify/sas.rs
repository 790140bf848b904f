//! Short authentication string: seven pictures, or four numbers, that two people compare while both are there.
//!
//! Commit, reveal, compare (`docs/SPEC.md`, section 24.3). Each side draws 32 bytes. The initiator commits to theirs before
//! the responder's are known, and reveals them after. So nobody, not even who is in between and talks to both as if to each
//! other's peer, can choose their bytes to make the two codes alike: of each code one honest side's bytes come last.

use core::fmt;

use rand::{CryptoRng, TryCryptoRng};

use crate::{
    Error, UserId,
    crypto::{
        kdf::{self, Label},
        random,
        secret::{Secret, constant_time_eq},
    },
    verify::Emoji,
    wire::codec::{Kind, Reader},
};

/// Length of every message: kind, step, 32 bytes.
const MESSAGE_LEN: usize = 2 + 32;

/// 6 bytes for the emoji (42 bits of them), 7 for the numbers (52 bits).
const CODE_LEN: usize = 6 + 7;

/// Which message of an exchange it is, and so whose turn to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SasStep {
    /// The first, for [`SasResponder::answer`].
    Commitment = 1,
    /// The second, for [`SasInitiator::receive`].
    Answer = 2,
    /// The third, for [`SasResponder::receive`].
    Reveal = 3,
}

impl SasStep {
    /// Tells what a message is from its first two bytes. Nothing else is looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is none of the three, [`Error::UnsupportedVersion`] for another version.
    pub fn of(message: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(message);
        Kind::Verification.expect(reader.u8()?)?;
        match reader.u8()? {
            1 => Ok(Self::Commitment),
            2 => Ok(Self::Answer),
            3 => Ok(Self::Reveal),
            _ => Err(Error::Malformed),
        }
    }

    fn message(self, bytes: &[u8; 32]) -> [u8; MESSAGE_LEN] {
        let mut message = [0; MESSAGE_LEN];
        let (head, rest) = message.split_at_mut(2);
        head.copy_from_slice(&[Kind::Verification.tag(), self as u8]);
        rest.copy_from_slice(bytes);
        message
    }

    /// The 32 bytes of a message that has to be of this step.
    fn read(self, message: &[u8]) -> Result<[u8; 32], Error> {
        let mut reader = Reader::new(message);
        if Self::of(message)? != self {
            return Err(Error::Malformed);
        }
        reader.array::<2>()?;
        let bytes = reader.array()?;
        reader.finish()?;
        Ok(*bytes)
    }
}

/// Who plays which role. Commitment and code cover both users in this order: what is made in one role, or for another
/// pair, is of no use in the other.
#[derive(Clone, Copy)]
struct Roles {
    initiator: UserId,
    responder: UserId,
}

impl Roles {
    fn new(initiator: &UserId, responder: &UserId) -> Result<Self, Error> {
        if initiator == responder {
            return Err(Error::SameUser);
        }
        Ok(Self { initiator: *initiator, responder: *responder })
    }

    fn commit(&self, nonce: &[u8; 32]) -> [u8; 32] {
        kdf::hash(Label::SAS_COMMITMENT, &[self.initiator.as_bytes(), self.responder.as_bytes(), nonce])
    }

    /// The code of nonces that were exchanged under this commitment.
    fn code(&self, commitment: &[u8; 32], nonce_i: &[u8; 32], nonce_r: &[u8; 32]) -> Secret<CODE_LEN> {
        let prk = kdf::extract(commitment, &[nonce_i, nonce_r]);
        let users = [&self.initiator.as_bytes()[..], &self.responder.as_bytes()[..]];
        kdf::expand(prk.as_bytes(), Label::SAS_CODE, users)
    }
}

/// Who has begun a short authentication string, and waits for the answer.
///
/// Two people who are on a call or side by side compare seven pictures. Three messages go before it, over any channel:
///
/// ```
/// use subrosa::{SasInitiator, SasResponder, Trust, Device, store::MemoryStore, StorageKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut alices = Device::create(MemoryStore::new(), &StorageKey::generate())?;
/// # let bobs = Device::create(MemoryStore::new(), &StorageKey::generate())?;
/// # let (alice, bob) = (alices.user(), bobs.user());
/// let (waiting, commitment) = SasInitiator::begin(&alice, &bob)?;           // Alice has pressed "compare"
/// let (answered, answer) = SasResponder::answer(&bob, &alice, &commitment)?; // Bob's device has got it
/// let (code, reveal) = waiting.receive(&answer)?;                           // Alice's screen shows the code
/// let bobs_code = answered.receive(&reveal)?;                               // and now Bob's does
///
/// for emoji in code.emoji() {
///     println!("{} {}", emoji.symbol(), emoji.name());
/// }
/// assert_eq!(code.emoji(), bobs_code.emoji()); // what the two people do, with their eyes or aloud
/// match code.confirm(true) {                   // Alice has answered: they are the same
///     Some(bob) => drop(alices.set_trust(&bob, Trust::Verified)?),
///     None => println!("Somebody may be in between. Bob stays unverified."),
/// }
/// # assert_eq!(alices.user_info(&bob)?.unwrap().trust, Trust::Verified);
/// # Ok(())
/// # }
/// ```
///
/// An attempt that fails, at any step, is over, and an attacker's success in one is 1 in 2^42. **Never begin anew, and never
/// [answer](SasResponder::answer) again, without the people having seen that it failed**: else an attacker may try as often
/// as it takes, in silence.
///
/// Each step takes the state and returns the next, so that none is repeated:
/// ```compile_fail,E0382
/// # use subrosa::{Error, SasInitiator, UserId};
/// fn twice(waiting: SasInitiator, answer: &[u8], other: &[u8]) -> Result<(), Error> {
///     waiting.receive(answer)?;
///     waiting.receive(other)?;
///     Ok(())
/// }
/// ```
#[must_use]
pub struct SasInitiator {
    roles: Roles,
    nonce: Secret<32>,
    commitment: [u8; 32],
}

impl SasInitiator {
    /// Begins, and returns the commitment, 34 bytes, to be sent to the peer.
    ///
    /// # Errors
    /// [`Error::SameUser`] if there are not two of them; [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn begin(me: &UserId, peer: &UserId) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        Self::try_begin(me, peer, &mut rand::rngs::SysRng)
    }

    /// [`Self::begin`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::SameUser`].
    pub fn begin_with_rng(
        me: &UserId,
        peer: &UserId,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        Self::try_begin(me, peer, rng)
    }

    fn try_begin(
        me: &UserId,
        peer: &UserId,
        rng: &mut impl TryCryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        let roles = Roles::new(me, peer)?;
        let nonce = random::fill(rng)?;
        let commitment = roles.commit(nonce.as_bytes());
        Ok((Self { roles, nonce, commitment }, SasStep::Commitment.message(&commitment)))
    }

    /// What to do when both have begun at once, and the peer's commitment comes instead of an answer. If this is true,
    /// drop this state and [answer](SasResponder::answer) the peer; else ignore the peer's commitment, theirs yields.
    ///
    /// That is one attempt still, and the answer is it: a second commitment is not answered. Somebody in between may have ids
    /// that make both sides yield.
    ///
    /// Who has the lower [`UserId`], compared as bytes, stays initiator.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.roles.responder < self.roles.initiator
    }

    /// Reads the answer. Returns the code to be shown, and the reveal, 34 bytes, to be sent to the peer.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no answer, [`Error::UnsupportedVersion`]. The attempt is over then.
    pub fn receive(self, answer: &[u8]) -> Result<(SasCode, [u8; MESSAGE_LEN]), Error> {
        let nonce_r = SasStep::Answer.read(answer)?;
        let code = self.roles.code(&self.commitment, self.nonce.as_bytes(), &nonce_r);
        let reveal = SasStep::Reveal.message(self.nonce.as_bytes());
        Ok((SasCode { peer: self.roles.responder, code }, reveal))
    }
}

/// Who has answered, and waits for the reveal. See [`SasInitiator`].
#[must_use]
pub struct SasResponder {
    roles: Roles,
    commitment: [u8; 32],
    nonce: [u8; 32],
}

impl SasResponder {
    /// Answers the commitment of the peer who has begun. Returns the answer, 34 bytes, to be sent to the peer.
    ///
    /// Answer when the app's user wants to compare; what comes unasked can wait for that.
    ///
    /// **An answer is an attempt.** Who is in between knows from it, before anybody has seen a code, whether the codes will be
    /// alike, and can let an attempt that fails come to nothing. So if there is no reveal in time, or another commitment
    /// comes in its place, the attempt has *failed*: tell the app's user, and answer the same peer again only when they have
    /// seen that and want to. Keep one such state for a peer, not several. With N answers that nobody sees fail, an attacker's
    /// chance is N in 2^42.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no commitment, [`Error::UnsupportedVersion`]; [`Error::SameUser`] if there are not
    /// two of them; [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn answer(me: &UserId, peer: &UserId, commitment: &[u8]) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        Self::try_answer(me, peer, commitment, &mut rand::rngs::SysRng)
    }

    /// [`Self::answer`] with a generator of the caller's.
    ///
    /// # Errors
    /// As [`Self::answer`], without [`Error::NoRandomness`].
    pub fn answer_with_rng(
        me: &UserId,
        peer: &UserId,
        commitment: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        Self::try_answer(me, peer, commitment, rng)
    }

    fn try_answer(
        me: &UserId,
        peer: &UserId,
        commitment: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<(Self, [u8; MESSAGE_LEN]), Error> {
        let roles = Roles::new(peer, me)?;
        let commitment = SasStep::Commitment.read(commitment)?;
        let nonce = *random::fill(rng)?.as_bytes();
        Ok((Self { roles, commitment, nonce }, SasStep::Answer.message(&nonce)))
    }

    /// Reads the reveal, and returns the code to be shown.
    ///
    /// # Errors
    /// [`Error::Unauthentic`] if it is not what the peer had committed to: somebody is in between, or it is of another
    /// attempt. [`Error::Malformed`] if it is no reveal, [`Error::UnsupportedVersion`]. The attempt is over then.
    pub fn receive(self, reveal: &[u8]) -> Result<SasCode, Error> {
        let nonce_i = SasStep::Reveal.read(reveal)?;
        if !constant_time_eq(&self.roles.commit(&nonce_i), &self.commitment) {
            return Err(Error::Unauthentic);
        }
        let code = self.roles.code(&self.commitment, &nonce_i, &self.nonce);
        Ok(SasCode { peer: self.roles.initiator, code })
    }
}

/// What both people compare: as seven [`Emoji`], or as four numbers where there are no pictures. One of the two is enough.
/// See [`SasInitiator`].
///
/// It is no proof before they have compared it, and so there is nothing to be had from it but by [`Self::confirm`].
#[must_use]
pub struct SasCode {
    peer: UserId,
    code: Secret<CODE_LEN>,
}

impl SasCode {
    /// Seven pictures out of 64, 42 bits: in this order, and one may come twice.
    #[must_use]
    pub fn emoji(&self) -> [Emoji; 7] {
        let bits = self.bits().0;
        core::array::from_fn(|i| Emoji::of(bits >> (42 - 6 * i)))
    }

    /// Four numbers from 1000 to 9191, 52 bits.
    #[must_use]
    pub fn numbers(&self) -> [u16; 4] {
        let bits = self.bits().1;
        core::array::from_fn(|i| 1000 + (bits >> (43 - 13 * i) & 0x1fff) as u16)
    }

    /// Says what the app's user has answered: whether the code was the *same* on both sides.
    ///
    /// If so this is who was verified, for [`Device::set_trust`](crate::Device::set_trust) with
    /// [`Trust::Verified`](crate::Trust::Verified). If not there is nobody: warn, as the two may be talking to somebody in
    /// between. A dialog that is closed without an answer is a `false`.
    #[must_use]
    pub fn confirm(self, same: bool) -> Option<UserId> {
        same.then_some(self.peer)
    }

    /// 48 bits for the emoji, of which the first 42 count; 56 for the numbers, of which the first 52 do.
    fn bits(&self) -> (u64, u64) {
        let (emoji, numbers) = self.code.as_bytes().split_at(6);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        (number(emoji), number(numbers))
    }
}

macro_rules! redacted {
    ($($name:ident: $peer:expr;)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let peer: fn(&Self) -> &UserId = $peer;
                f.debug_struct(stringify!($name)).field("peer", peer(self)).finish_non_exhaustive()
            }
        }
    )+};
}

redacted! {
    SasInitiator: |sas| &sas.roles.responder;
    SasResponder: |sas| &sas.roles.initiator;
    SasCode: |code| &code.peer;
}

#[cfg(test)]
mod tests;

//! The private halves of prekeys, and their life: made, handed out, used, deleted.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use rand::{CryptoRng, TryCryptoRng};
use serde::{Deserialize, Serialize};

use super::{
    IdentityKey, IdentityKeyPair, OneTimePreKey, PreKeyBundle, PreKeyId, SignedPreKey, UnixTime,
    replay::{Fingerprint, ReplayRecord},
};
use crate::{
    Error, StorageKey,
    crypto::{
        dh::AgreementKey,
        kdf::{self, Label},
        kem::{KemKeyPair, KemPublic, KemSeed},
        secret::{Secret, scrub_deep_stack},
        sign::Signature,
        trace,
    },
    sealed,
    wire::codec::Kind,
};

/// Days after which a signed prekey should be replaced.
const ROTATE_AFTER_DAYS: u64 = 7;
/// Days for which initiators may use a signed prekey.
pub(super) const VALID_DAYS: u64 = 30;
/// Days for which its private half is kept: validity, and a week for messages under way. It goes at the first rotation
/// after that, and not by itself: until then whoever steals it can read initial messages that used it without a
/// one-time prekey, and write to its owner as anybody.
const KEPT_DAYS: u64 = VALID_DAYS + 7;
/// How many signed prekeys are kept, the current one included; beyond that the oldest are forgotten. Weekly rotation
/// needs six; the bound is for rotations that full replay records (256 KiB each) ask for.
const MAX_SIGNED: usize = 16;
/// How many one-time prekeys are kept; beyond that the oldest are forgotten.
const MAX_ONE_TIME: usize = 4_096;

/// The private halves of a device's prekeys. Save it, sealed, whenever it changed: after
/// [`generate`](Self::generate), [`hand_out`](Self::hand_out), [`bundle`](Self::bundle), [`refill`](Self::refill) and
/// [`rotate`](Self::rotate) *before* anything is uploaded, and after every
/// [`Session::accept`](crate::Session::accept), which deletes the one-time prekey that was used.
///
/// With a server:
/// - Upload [`signed_prekey`](Self::signed_prekey) at every start, too. If a crash comes between a rotation that was saved
///   and its upload, nothing else tells: rotation is not due for a week, and the server goes on with the old one, which
///   expires. The same upload twice does no harm.
/// - When the *server's* stock of one-time prekeys is low: `refill`, `hand_out`, save, upload. What a crash keeps from
///   arriving there is wasted, and no harm.
/// - At most 4,096 one-time prekeys are kept, handed out or not; beyond that the oldest are forgotten. If the server
///   still has such a one, a first message to it is [`Error::UnknownPreKey`]. So replace what was used, and do not let
///   a server ask for ever more.
///
/// Never put back an older copy: it accepts old first messages again, and hands out one-time prekeys twice. After a
/// restore make new ones.
///
/// ```
/// use subrosa::{IdentityKeyPair, PreKeyBundle, PreKeys, UnixTime};
///
/// let bob = IdentityKeyPair::generate();
/// let now = UnixTime::now();
/// let mut prekeys = PreKeys::generate(&bob, 100, now);
///
/// // Either give a whole bundle to one peer ...
/// let bundle = prekeys.bundle();
/// // ... or, once this is saved, upload the parts and let a server assemble bundles.
/// let signed = prekeys.signed_prekey();
/// let uploaded = prekeys.hand_out(50);
/// let assembled = PreKeyBundle::new(*bob.identity_key(), signed, uploaded.into_iter().next());
/// # assembled.verify(now)?;
///
/// // When the server has few left; then save, then upload:
/// if prekeys.not_handed_out() < 80 { prekeys.refill(&bob, 80)?; }
/// let more = prekeys.hand_out(80);
/// // Once a day; then save, then upload:
/// if prekeys.rotation_due(now) { prekeys.rotate(&bob, now)?; }
/// # Ok::<(), subrosa::Error>(())
/// ```
pub struct PreKeys {
    identity_key: IdentityKey,
    // Boxed: a vector that grows frees its old place with a copy of what was in it.
    /// The current one first.
    #[allow(clippy::vec_box, reason = "as above")]
    signed: Vec<Box<SignedSecret>>,
    /// Oldest first.
    #[allow(clippy::vec_box, reason = "as above")]
    one_time: Vec<Box<OneTimeSecret>>,
}

/// The private keys of a prekey: its X25519 key and the seed of its ML-KEM key.
#[derive(Serialize, Deserialize)]
struct Pair {
    agreement: AgreementKey,
    kem: KemSeed,
}

#[derive(Serialize, Deserialize)]
struct SignedSecret {
    id: PreKeyId,
    pair: Pair,
    /// Kept whole: its record is hashed into every handshake.
    public: SignedPreKey,
    created: UnixTime,
    replay: ReplayRecord,
}

#[derive(Serialize, Deserialize)]
struct OneTimeSecret {
    id: PreKeyId,
    pair: Pair,
    signature: Signature,
    handed_out: bool,
}

impl PreKeys {
    /// Makes a signed prekey, valid for 30 days, and `one_time` one-time prekeys (100 is usual; at most 4,096
    /// are kept).
    ///
    /// # Panics
    /// If the system's random generator fails.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn generate(identity: &IdentityKeyPair, one_time: u16, now: UnixTime) -> Self {
        Self::generate_with_rng(identity, one_time, now, &mut crate::system_rng())
    }

    /// [`Self::generate`] with a generator of the caller's.
    #[must_use]
    pub fn generate_with_rng(
        identity: &IdentityKeyPair,
        one_time: u16,
        now: UnixTime,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut prekeys =
            Self { identity_key: *identity.identity_key(), signed: Vec::new(), one_time: Vec::new() };
        let Ok(signed) = SignedSecret::generate(identity, now, rng);
        prekeys.signed.push(signed);
        let Ok(()) = prekeys.add_one_time(identity, one_time, rng);
        scrub_deep_stack();
        prekeys
    }

    /// Hands out a bundle, with the next one-time prekey if one is left. Every call gives another one: use it
    /// to meet peers directly, and [`hand_out`](Self::hand_out) to stock a server.
    #[must_use]
    pub fn bundle(&mut self) -> PreKeyBundle {
        let one_time_prekey = self.hand_out(1).pop();
        PreKeyBundle::new(self.identity_key, self.signed_prekey(), one_time_prekey)
    }

    /// The current signed prekey, to be uploaded whenever it changed, and at every start in case that failed.
    #[must_use]
    pub fn signed_prekey(&self) -> SignedPreKey {
        #[allow(clippy::expect_used, reason = "made with one, opened with one, and the current one is kept")]
        self.signed.first().expect("a current signed prekey").public.clone()
    }

    /// Hands out up to `count` one-time prekeys that have not been before, to be uploaded. Save these `PreKeys`
    /// before uploading: a prekey that was published and then forgotten is a message lost.
    #[must_use]
    pub fn hand_out(&mut self, count: u16) -> Vec<OneTimePreKey> {
        let fresh = self.one_time.iter_mut().filter(|secret| !secret.handed_out);
        let prekeys = fresh.take(usize::from(count)).map(|secret| {
            secret.handed_out = true;
            secret.public()
        });
        let prekeys = prekeys.collect();
        scrub_deep_stack();
        prekeys
    }

    /// How many one-time prekeys can be [handed out](Self::hand_out) before a [`refill`](Self::refill). Not how many a
    /// server has left: that only the server knows.
    #[must_use]
    pub fn not_handed_out(&self) -> usize {
        self.one_time.iter().filter(|secret| !secret.handed_out).count()
    }

    /// Makes `count` more one-time prekeys. Beyond 4,096 in all the oldest are forgotten, handed out or not.
    ///
    /// # Errors
    /// [`Error::WrongIdentity`], [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn refill(&mut self, identity: &IdentityKeyPair, count: u16) -> Result<(), Error> {
        self.check_identity(identity)?;
        let added = self.add_one_time(identity, count, &mut rand::rngs::SysRng);
        scrub_deep_stack();
        added.map_err(|_| Error::NoRandomness)
    }

    /// [`Self::refill`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::WrongIdentity`].
    pub fn refill_with_rng(
        &mut self,
        identity: &IdentityKeyPair,
        count: u16,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        self.check_identity(identity)?;
        let Ok(()) = self.add_one_time(identity, count, rng);
        scrub_deep_stack();
        Ok(())
    }

    /// Whether the signed prekey should be replaced: it is a week old, its replay record is full, or by this clock
    /// it is not made yet; or an older one should be deleted.
    #[must_use]
    pub fn rotation_due(&self, now: UnixTime) -> bool {
        let due = |current: &SignedSecret| {
            now < current.created
                || now >= current.created.plus_days(ROTATE_AFTER_DAYS)
                || current.replay.is_full()
        };
        self.signed.first().is_none_or(|current| due(current))
            || self.signed.iter().any(|prekey| !prekey.is_kept_at(now))
    }

    /// Makes a new signed prekey: save, then upload. Older ones go on to work for initial messages under way. This
    /// call, and nothing else, deletes those made 37 days ago or earlier, and those beyond the newest 16: after a long
    /// pause read what is waiting first, and then rotate.
    ///
    /// What was made in the future by this clock counts as made now. So the time for which older prekeys are kept is
    /// cut short by a rotation under a clock that is behind.
    ///
    /// # Errors
    /// [`Error::WrongIdentity`], [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn rotate(&mut self, identity: &IdentityKeyPair, now: UnixTime) -> Result<(), Error> {
        self.check_identity(identity)?;
        let added = self.add_signed(identity, now, &mut rand::rngs::SysRng);
        scrub_deep_stack();
        added.map_err(|_| Error::NoRandomness)
    }

    /// [`Self::rotate`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::WrongIdentity`].
    pub fn rotate_with_rng(
        &mut self,
        identity: &IdentityKeyPair,
        now: UnixTime,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        self.check_identity(identity)?;
        let Ok(()) = self.add_signed(identity, now, rng);
        scrub_deep_stack();
        Ok(())
    }

    /// Encrypts the prekeys for storage.
    #[must_use]
    pub fn seal(&self, key: &StorageKey) -> Vec<u8> {
        self.seal_in(key, &[])
    }

    /// [`Self::seal`], bound to a context.
    pub(crate) fn seal_in(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        sealed::seal(key, Kind::SealedPreKeys, context, &(&self.identity_key, &self.signed, &self.one_time))
    }

    /// Decrypts sealed prekeys.
    ///
    /// # Errors
    /// [`Error::SealBroken`] for a wrong key or altered bytes, [`Error::UnsupportedVersion`].
    pub fn open(key: &StorageKey, bytes: &[u8]) -> Result<Self, Error> {
        Self::open_in(key, &[], bytes)
    }

    /// [`Self::open`] of what was sealed in a context.
    pub(crate) fn open_in(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        type State = (IdentityKey, Vec<Box<SignedSecret>>, Vec<Box<OneTimeSecret>>);
        let (identity_key, signed, one_time): State = sealed::open(key, Kind::SealedPreKeys, context, bytes)?;
        if signed.is_empty() {
            return Err(Error::SealBroken);
        }
        Ok(Self { identity_key, signed, one_time })
    }

    /// The public halves of one-time prekeys that were handed out before, as far as they have not been used.
    #[cfg(feature = "std")]
    pub(crate) fn hand_out_again(&self, ids: &[PreKeyId]) -> Vec<OneTimePreKey> {
        let again = self.one_time.iter().filter(|secret| ids.contains(&secret.id));
        let prekeys = again.map(|secret| secret.public()).collect();
        scrub_deep_stack();
        prekeys
    }

    fn check_identity(&self, identity: &IdentityKeyPair) -> Result<(), Error> {
        if identity.identity_key() == &self.identity_key { Ok(()) } else { Err(Error::WrongIdentity) }
    }

    fn add_one_time<R: TryCryptoRng>(
        &mut self,
        identity: &IdentityKeyPair,
        count: u16,
        rng: &mut R,
    ) -> Result<(), R::Error> {
        let made: Result<Vec<_>, _> = (0..count).map(|_| OneTimeSecret::generate(identity, rng)).collect();
        self.one_time.extend(made?);
        self.one_time.drain(..self.one_time.len().saturating_sub(MAX_ONE_TIME));
        Ok(())
    }

    fn add_signed<R: TryCryptoRng>(
        &mut self,
        identity: &IdentityKeyPair,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<(), R::Error> {
        let current = SignedSecret::generate(identity, now, rng)?;
        self.signed.retain_mut(|prekey| {
            // Else what a clock once ahead has made would stay for as long as it was ahead.
            prekey.created = prekey.created.min(now);
            prekey.is_kept_at(now)
        });
        self.signed.insert(0, current);
        self.signed.truncate(MAX_SIGNED);
        Ok(())
    }

    /// Finds the private keys that an initial message asks for. Changes nothing.
    pub(crate) fn find(
        &self,
        identity: &IdentityKeyPair,
        signed: &PreKeyId,
        one_time: Option<&PreKeyId>,
    ) -> Result<ResponderKeys<'_>, Error> {
        self.check_identity(identity)?;
        let signed = self.signed.iter().find(|secret| secret.id == *signed).ok_or(Error::UnknownPreKey)?;
        let one_time = match one_time {
            None => None,
            Some(id) => {
                let found = self.one_time.iter().find(|secret| secret.id == *id);
                Some(found.ok_or(Error::UnknownPreKey)?.as_ref())
            }
        };
        Ok(ResponderKeys { signed, one_time })
    }

    /// After an initial message has been authenticated: deletes the one-time prekey that it used, or records
    /// it if it used none.
    pub(crate) fn used(&mut self, signed: &PreKeyId, one_time: Option<&PreKeyId>, fingerprint: Fingerprint) {
        match one_time {
            Some(id) => self.one_time.retain(|secret| secret.id != *id),
            None => {
                if let Some(secret) = self.signed.iter_mut().find(|secret| secret.id == *signed) {
                    secret.replay.insert(fingerprint);
                }
            }
        }
    }
}

impl fmt::Debug for PreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreKeys")
            .field("identity_key", &self.identity_key)
            .field("signed", &self.signed.len())
            .field("one_time", &self.one_time.len())
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// The keys of a prekey; `context` is what its record holds beside them.
    fn generate<R: TryCryptoRng>(
        identity: &IdentityKeyPair,
        context: &[u8],
        rng: &mut R,
    ) -> Result<Self, R::Error> {
        let drawn: Secret<96> = identity.hedged(rng, Label::HEDGED_PREKEY, context)?;
        let [agreement, d, z] = kdf::split(&drawn);
        let mut kem = Secret::<64>::zeroed();
        let (first, second) = kem.as_mut().split_at_mut(32);
        first.copy_from_slice(d.as_bytes());
        second.copy_from_slice(z.as_bytes());
        trace!("prekey private key", agreement.as_bytes());
        trace!("prekey KEM seed", kem.as_bytes());
        Ok(Self { agreement: AgreementKey::from_seed(&agreement), kem: KemSeed::new(kem) })
    }
}

// Never inlined: the frame of a public function is not scrubbed, and must not hold what these do.
impl SignedSecret {
    #[inline(never)]
    fn generate<R: TryCryptoRng>(
        identity: &IdentityKeyPair,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<Box<Self>, R::Error> {
        let not_after = now.plus_days(VALID_DAYS);
        let context = [&[Kind::SignedPreKey.tag()], &not_after.as_secs().to_be_bytes()[..]].concat();
        let pair = Pair::generate(identity, &context, rng)?;
        let kem = pair.kem.expand();
        let public = SignedPreKey::sign(identity, pair.agreement.public(), kem.public(), not_after);
        Ok(Box::new(Self { id: public.id(), pair, public, created: now, replay: ReplayRecord::default() }))
    }

    fn is_kept_at(&self, now: UnixTime) -> bool {
        now < self.created.plus_days(KEPT_DAYS)
    }
}

// As above.
impl OneTimeSecret {
    #[inline(never)]
    fn generate<R: TryCryptoRng>(identity: &IdentityKeyPair, rng: &mut R) -> Result<Box<Self>, R::Error> {
        let pair = Pair::generate(identity, &[Kind::OneTimePreKey.tag()], rng)?;
        let public = OneTimePreKey::sign(identity, pair.agreement.public(), pair.kem.expand().public());
        Ok(Box::new(Self { id: public.id(), pair, signature: *public.signature(), handed_out: false }))
    }

    #[inline(never)]
    fn public(&self) -> OneTimePreKey {
        self.public_with(self.pair.kem.expand().public())
    }

    fn public_with(&self, kem: &KemPublic) -> OneTimePreKey {
        OneTimePreKey::restore(self.pair.agreement.public(), kem, self.signature)
    }
}

/// The private keys for one handshake, borrowed: deleting them is a separate step, after authentication.
pub(crate) struct ResponderKeys<'a> {
    signed: &'a SignedSecret,
    one_time: Option<&'a OneTimeSecret>,
}

impl<'a> ResponderKeys<'a> {
    pub(crate) fn signed(&self) -> &'a SignedPreKey {
        &self.signed.public
    }

    pub(crate) fn signed_agreement(&self) -> &'a AgreementKey {
        &self.signed.pair.agreement
    }

    pub(crate) fn one_time_agreement(&self) -> Option<&'a AgreementKey> {
        self.one_time.map(|secret| &secret.pair.agreement)
    }

    /// Whether an initial message with this fingerprint may be accepted.
    pub(crate) fn check_replay(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        match self.one_time {
            Some(_) => Ok(()),
            None => self.signed.replay.check(fingerprint),
        }
    }

    /// Recomputes the ML-KEM pair that the initiator encapsulated to, and the one-time prekey if there is one.
    pub(crate) fn expand(&self) -> (KemKeyPair, Option<OneTimePreKey>) {
        let pair = self.one_time.map_or(&self.signed.pair, |secret| &secret.pair);
        let kem = pair.kem.expand();
        let one_time = self.one_time.map(|secret| secret.public_with(kem.public()));
        (kem, one_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a signed prekey there is no bundle.
    #[test]
    fn sealed_prekeys_have_a_signed_one() {
        let (key, identity) = (StorageKey::from_bytes(&[7; 32]), IdentityKeyPair::generate());
        let mut prekeys = PreKeys::generate(&identity, 1, UnixTime::from_secs(1_800_000_000));
        assert!(PreKeys::open(&key, &prekeys.seal(&key)).is_ok());
        prekeys.signed.clear();
        assert_eq!(PreKeys::open(&key, &prekeys.seal(&key)).err(), Some(Error::SealBroken));
    }
}

//! Identity keys: an Ed25519 and an X25519 key that only ever go together.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, str::FromStr};

use bech32::Hrp;
use rand::{CryptoRng, TryCryptoRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Error, StorageKey,
    crypto::{
        SUITE,
        dh::{AgreementKey, AgreementPublic},
        kdf::{self, Label},
        random,
        secret::{Secret, scrub_stack},
        sign::{SIGNATURE_LEN, Signature, SigningKey, SigningPublic},
    },
    sealed,
    wire::{
        codec::{Kind, Reader},
        text::{self, serde_by_text},
    },
};

/// Who somebody is: the public halves of an [`IdentityKeyPair`], 64 bytes (Ed25519 | X25519).
///
/// Its [`Display`](fmt::Display) form is bech32m text with the prefix `srid`, 114 characters, whose checksum
/// finds every slip of up to three characters (at this length; up to four in texts of 90), and all but one in 2^30 of
/// the others; [`FromStr`] reads it back, in lower or in upper case. A checksum is no protection against a key that
/// was made to look alike: compare the whole text.
///
/// Comparing two of these for equality tells whether it is the same person's device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    signing: SigningPublic,
    agreement: AgreementPublic,
}

/// Human-readable part of the text form.
const TEXT_PREFIX: Hrp = Hrp::parse_unchecked("srid");

impl IdentityKey {
    /// Length of [`Self::to_bytes`], in bytes.
    pub const LEN: usize = 64;

    /// Ed25519 public key (RFC 8032) | X25519 public key (RFC 7748).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (signing, agreement) = bytes.split_at_mut(32);
        signing.copy_from_slice(self.signing.as_bytes());
        agreement.copy_from_slice(self.agreement.as_bytes());
        bytes
    }

    /// # Errors
    /// [`Error::Malformed`] if these are not 64 bytes; [`Error::InvalidKey`] if a half is not canonical, or of
    /// small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let (signing, agreement) = (reader.array()?, reader.array()?);
        reader.finish()?;
        Ok(Self {
            signing: SigningPublic::from_bytes(signing)?,
            agreement: AgreementPublic::from_bytes(agreement)?,
        })
    }

    /// A key that was checked before it was sealed into our own state. (That the X25519 half is canonical is checked
    /// again: it costs nothing.)
    pub(crate) fn from_sealed_state(bytes: &[u8; Self::LEN]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            signing: SigningPublic::from_sealed_state(*reader.array()?),
            agreement: AgreementPublic::from_bytes(reader.array()?)?,
        })
    }

    pub(crate) fn signing(&self) -> &SigningPublic {
        &self.signing
    }

    pub(crate) fn agreement(&self) -> &AgreementPublic {
        &self.agreement
    }

    /// Checks the binding signature, which shows that the owner of the Ed25519 half claims the X25519 half; that it
    /// holds it shows in the second stage of the handshake.
    pub(crate) fn verify_binding(&self, binding: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
        self.signing.verify(&self.binding_message(), &Signature::from_bytes(binding))
    }

    fn binding_message(&self) -> [u8; Label::IDENTITY_BINDING.as_bytes().len() + 1 + Self::LEN] {
        let mut message = [0; _];
        let (label, rest) = message.split_at_mut(Label::IDENTITY_BINDING.as_bytes().len());
        label.copy_from_slice(Label::IDENTITY_BINDING.as_bytes());
        let (suite, key) = rest.split_at_mut(1);
        suite.copy_from_slice(&[SUITE]);
        key.copy_from_slice(&self.to_bytes());
        message
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(f, TEXT_PREFIX, &self.to_bytes())
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({self})")
    }
}

impl FromStr for IdentityKey {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`] for a wrong checksum, prefix, length, mixed case or padding; [`Error::InvalidKey`]
    /// as in [`IdentityKey::from_bytes`].
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_bytes(&text::read::<{ Self::LEN }>(TEXT_PREFIX, text)?)
    }
}

serde_by_text!(IdentityKey);

/// `serde` of an identity key in sealed state: it was checked before it was sealed, and the seal has just been
/// checked, so opening a session costs no curve arithmetic.
pub(crate) mod sealed_state {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(key: &IdentityKey, serializer: S) -> Result<S::Ok, S::Error> {
        (key.signing.as_bytes(), &key.agreement).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IdentityKey, D::Error> {
        let (signing, agreement) = Deserialize::deserialize(deserializer)?;
        Ok(IdentityKey { signing: SigningPublic::from_sealed_state(signing), agreement })
    }
}

/// The long-term keys of one device. Made once, sealed, never shared, never copied to a second device.
///
/// ```
/// use subrosa::{IdentityKeyPair, StorageKey};
///
/// let alice = IdentityKeyPair::generate();
/// println!("I am {}", alice.identity_key());
///
/// let key = StorageKey::generate();                 // kept in the platform's keychain
/// let stored = alice.seal(&key);
/// let again = IdentityKeyPair::open(&key, &stored)?;
/// assert_eq!(again.identity_key(), alice.identity_key());
/// # Ok::<(), subrosa::Error>(())
/// ```
///
/// There is no `Clone`:
/// ```compile_fail,E0599
/// let copy = subrosa::IdentityKeyPair::generate().clone();
/// ```
pub struct IdentityKeyPair {
    // Boxed: moving an identity moves a pointer, and leaves no copies of keys behind.
    private: Box<PrivateKeys>,
    /// Signature of the one half over both, made once: sealed into every handshake.
    binding: Signature,
    identity_key: IdentityKey,
}

struct PrivateKeys {
    signing: SigningKey,
    agreement: AgreementKey,
    /// Hedges the randomness of this identity's prekeys and handshakes.
    hedge: Secret<32>,
}

impl IdentityKeyPair {
    /// Makes a new identity from the system's random generator.
    ///
    /// # Panics
    /// If the system's generator fails, on which no key can be made.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn generate() -> Self {
        Self::generate_with_rng(&mut crate::system_rng())
    }

    /// Makes a new identity from a generator of the caller's.
    #[must_use]
    pub fn generate_with_rng(rng: &mut impl CryptoRng) -> Self {
        let key = Self::draw(rng);
        scrub_stack();
        key
    }

    #[inline(never)]
    fn draw(rng: &mut impl CryptoRng) -> Self {
        let (mut signing, mut agreement) = (Secret::zeroed(), Secret::zeroed());
        rng.fill_bytes(signing.as_mut());
        rng.fill_bytes(agreement.as_mut());
        Self::from_seeds(&signing, &agreement)
    }

    fn from_seeds(signing: &Secret<32>, agreement: &Secret<32>) -> Self {
        let private = Box::new(PrivateKeys {
            signing: SigningKey::from_seed(signing),
            agreement: AgreementKey::from_seed(agreement),
            hedge: kdf::derive(signing.as_bytes(), agreement.as_bytes(), Label::HEDGE_SECRET, [&[], &[]]),
        });
        let identity_key =
            IdentityKey { signing: private.signing.public(), agreement: *private.agreement.public() };
        let binding = private.signing.sign(&identity_key.binding_message());
        Self { private, binding, identity_key }
    }

    /// The public half.
    #[must_use]
    pub fn identity_key(&self) -> &IdentityKey {
        &self.identity_key
    }

    /// Encrypts the key pair for storage.
    #[must_use]
    pub fn seal(&self, key: &StorageKey) -> Vec<u8> {
        self.seal_in(key, &[])
    }

    /// [`Self::seal`], bound to a context.
    pub(crate) fn seal_in(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        sealed::seal(
            key,
            Kind::SealedIdentity,
            context,
            &(self.private.signing.seed(), self.private.agreement.seed()),
        )
    }

    /// Decrypts a sealed key pair.
    ///
    /// # Errors
    /// [`Error::SealBroken`] for a wrong key or altered bytes, [`Error::UnsupportedVersion`].
    pub fn open(key: &StorageKey, bytes: &[u8]) -> Result<Self, Error> {
        Self::open_in(key, &[], bytes)
    }

    /// [`Self::open`] of what was sealed in a context.
    pub(crate) fn open_in(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        let key = Self::open_inner(key, context, bytes);
        scrub_stack();
        key
    }

    #[inline(never)]
    fn open_inner(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        let (signing, agreement): (Secret<32>, Secret<32>) =
            sealed::open(key, Kind::SealedIdentity, context, bytes)?;
        Ok(Self::from_seeds(&signing, &agreement))
    }

    pub(crate) fn agreement(&self) -> &AgreementKey {
        &self.private.agreement
    }

    pub(crate) fn binding(&self) -> &Signature {
        &self.binding
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.private.signing.sign(message)
    }

    /// `N` bytes for secrets of this identity's, of this use and context.
    pub(crate) fn hedged<R: TryCryptoRng, const N: usize>(
        &self,
        rng: &mut R,
        label: Label,
        context: &[u8],
    ) -> Result<Secret<N>, R::Error> {
        random::try_hedged(rng, self.private.hedge.as_bytes(), label, context)
    }
}

/// Identities that only an attacker makes.
#[cfg(test)]
impl IdentityKeyPair {
    /// Claims these public halves, and binds them with the Ed25519 key that it has.
    pub(crate) fn claiming(mut self, signing: &IdentityKey, agreement: &AgreementPublic) -> Self {
        self.identity_key = IdentityKey { signing: signing.signing, agreement: *agreement };
        self.binding = self.private.signing.sign(&self.identity_key.binding_message());
        self
    }

    /// Uses a binding signature that was made for other halves.
    pub(crate) fn with_binding_of(mut self, other: &Self) -> Self {
        self.binding = other.binding;
        self
    }
}

impl fmt::Debug for IdentityKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKeyPair({}, [secret])", self.identity_key)
    }
}

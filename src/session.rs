//! A conversation of two identities: encrypt, decrypt, seal, open. No I/O, no clock.
//!
//! ```text
//!   initiate ──> unanswered ── first reply decrypts ──> established <── accept
//!                (every message repeats the handshake part)
//! ```
//!
//! Not its concern: which of several sessions with a peer to use, beyond [`Session::yields_to`]; when to start
//! a new one; where state is kept.

#[cfg(test)]
mod halves;
#[cfg(test)]
pub(crate) mod hostile;
#[cfg(test)]
pub(crate) mod impostor;
mod state;
#[cfg(test)]
mod thief;

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use rand::{CryptoRng, TryCryptoRng};

use crate::{
    Error, IdentityKey, IdentityKeyPair, MessageKind, Padding, PreKeys, StorageKey, VerifiedBundle,
    crypto::{
        kdf::{self, Label},
        random,
        secret::{scrub_deep_stack, scrub_stack},
    },
    handshake::{self, SessionSecrets},
    ratchet::{Cold, Envelope, TripleRatchet},
    sealed,
    wire::{
        codec::Kind,
        message::{HandshakePart, Message},
    },
};

#[cfg(feature = "std")]
pub(crate) use crate::ratchet::HeaderKeys;
pub use state::SessionId;
use state::{Hot, Progress};

/// One side of an end-to-end encrypted conversation with one peer.
///
/// Save it, [sealed](Session::seal), after every [`encrypt`](Session::encrypt) in one step with the message, *before*
/// that leaves, and after every [`decrypt`](Session::decrypt) in one step with what was decrypted
/// ([Storing](crate#sessions-storing)). A session is not `Clone`: a copied one would use keys twice.
///
/// A call that fails has changed nothing, whatever bytes it was given.
///
/// ```compile_fail,E0599
/// fn fork(session: subrosa::Session) -> (subrosa::Session, subrosa::Session) {
///     (session.clone(), session)
/// }
/// ```
pub struct Session {
    // Boxed: moving a session moves pointers, and leaves no copies of keys behind.
    hot: Box<Hot>,
    cold: Box<Cold>,
    /// Random at creation and at every opening, never taken from storage: two sessions out of one stored state differ.
    incarnation: u32,
}

/// What the first message of a peer brings.
#[non_exhaustive]
pub struct Accepted {
    /// The new session.
    pub session: Session,
    /// The content of the message.
    pub content: Vec<u8>,
    /// What the initiator put beside its identity.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No plaintext: an app logs this.
        f.debug_struct("Accepted").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts a session with the owner of a bundle. Nothing is sent by this: the first message carries the
    /// handshake, and so does every further one until the first reply has been decrypted.
    ///
    /// It uses the bundle up: one with a one-time prekey makes one session, and the recipient refuses the messages of a
    /// second one from it ([`Error::UnknownPreKey`]). Whether the bundle has expired was checked by
    /// [`verify`](crate::PreKeyBundle::verify) and is not checked here, so verify it when you use it, and don't keep it.
    /// That its identity key is the right one is for the caller to have compared.
    ///
    /// A bundle of one's own is not refused: both ends of the session are then here, with one [`id`](Self::id), so
    /// that files named by it collide.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] if a key of the bundle is of small order, [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn initiate(identity: &IdentityKeyPair, bundle: VerifiedBundle) -> Result<Self, Error> {
        Self::initiate_with_payload(identity, bundle, &[])
    }

    /// [`Self::initiate`] with up to 512 bytes beside our identity, sealed alike and authenticated: say, a
    /// certificate. Its length shows on the wire, so use one constant length for everybody.
    ///
    /// # Errors
    /// As [`Self::initiate`], and [`Error::PayloadTooLong`].
    #[cfg(feature = "std")]
    pub fn initiate_with_payload(
        identity: &IdentityKeyPair,
        bundle: VerifiedBundle,
        payload: &[u8],
    ) -> Result<Self, Error> {
        Self::try_initiate(identity, &bundle, payload, &mut rand::rngs::SysRng)
    }

    /// [`Self::initiate_with_payload`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::PayloadTooLong`].
    pub fn initiate_with_rng(
        identity: &IdentityKeyPair,
        bundle: VerifiedBundle,
        payload: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        Self::try_initiate(identity, &bundle, payload, rng)
    }

    /// Accepts a session from a peer's initial message, and decrypts the message. Afterwards `prekeys` has
    /// forgotten the one-time prekey that was used: save it in one step with the session.
    ///
    /// Who wrote is [`Session::peer_identity`]. Anybody who has our bundle can write: a stranger, somebody known on a new
    /// device, or who pretends to be. Show an identity that is not known as unknown.
    ///
    /// Try existing sessions with [`Session::decrypt`] first: an initial message is repeated until it is answered, and a
    /// repetition is for the session that was made from the first one.
    ///
    /// # Errors
    /// [`Error::UnknownPreKey`], [`Error::Replayed`], [`Error::ReplayRecordFull`], [`Error::Unauthentic`],
    /// [`Error::Malformed`], [`Error::UnsupportedVersion`], [`Error::InvalidKey`], [`Error::TooFarAhead`];
    /// [`Error::UnknownSession`] if it is not an initial message; [`Error::WrongIdentity`],
    /// [`Error::NoRandomness`]. On every one `prekeys` is unchanged.
    #[cfg(feature = "std")]
    pub fn accept(
        identity: &IdentityKeyPair,
        prekeys: &mut PreKeys,
        message: &[u8],
    ) -> Result<(Self, Vec<u8>), Error> {
        Self::accept_with_payload(identity, prekeys, message)
            .map(|accepted| (accepted.session, accepted.content))
    }

    /// [`Self::accept`] for initiators that send a payload.
    ///
    /// # Errors
    /// As [`Self::accept`].
    #[cfg(feature = "std")]
    pub fn accept_with_payload(
        identity: &IdentityKeyPair,
        prekeys: &mut PreKeys,
        message: &[u8],
    ) -> Result<Accepted, Error> {
        Self::try_accept(identity, prekeys, message, &mut rand::rngs::SysRng)
    }

    /// [`Self::accept_with_payload`] with a generator of the caller's.
    ///
    /// # Errors
    /// As [`Self::accept`], without [`Error::NoRandomness`].
    pub fn accept_with_rng(
        identity: &IdentityKeyPair,
        prekeys: &mut PreKeys,
        message: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Accepted, Error> {
        Self::try_accept(identity, prekeys, message, rng)
    }

    /// Encrypts `content` (0 bytes to [`MAX_CONTENT_LEN`](crate::MAX_CONTENT_LEN)) into a message for the peer:
    /// bytes for any transport, in any order, with any loss.
    ///
    /// Padded as by default they are 341, 597 or 1,109 bytes for content of up to 217, 473 or 985 bytes, and at most
    /// 12 % more than content and framing above that; plus 1.8 KB while this session was
    /// [initiated](Self::initiate) here and has not been answered.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`], [`Error::NoRandomness`]; [`Error::CounterExhausted`] after 2^32 - 1 messages
    /// without a reply or in one epoch.
    #[cfg(feature = "std")]
    pub fn encrypt(&mut self, content: &[u8]) -> Result<Vec<u8>, Error> {
        let mut message = Vec::new();
        self.encrypt_into(content, &mut message)?;
        Ok(message)
    }

    /// [`Self::encrypt`] of what is padded, if it is, so that its body is at least so many bytes long.
    #[cfg(feature = "std")]
    pub(crate) fn encrypt_to(&mut self, content: &[u8], least: usize) -> Result<Vec<u8>, Error> {
        let mut message = Vec::new();
        self.try_encrypt(content, least, &mut rand::rngs::SysRng, &mut message)?;
        Ok(message)
    }

    /// [`Self::encrypt`] into a buffer of the caller's, whose content is replaced. On an error it is empty. If it has room
    /// nothing is allocated, but where a ratchet takes a step.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    #[cfg(feature = "std")]
    pub fn encrypt_into(&mut self, content: &[u8], message: &mut Vec<u8>) -> Result<(), Error> {
        self.try_encrypt(content, 0, &mut rand::rngs::SysRng, message)
    }

    /// [`Self::encrypt`] with a generator of the caller's, which is asked only when it is our turn to make a
    /// new ratchet key, at the first message after one was received; and when the PQ ratchet makes a key pair or
    /// encapsulates to one.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`], [`Error::CounterExhausted`].
    pub fn encrypt_with_rng(&mut self, content: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
        let mut message = Vec::new();
        self.encrypt_into_with_rng(content, &mut message, rng)?;
        Ok(message)
    }

    /// [`Self::encrypt_into`] with a generator of the caller's.
    ///
    /// # Errors
    /// As [`Self::encrypt_with_rng`].
    pub fn encrypt_into_with_rng(
        &mut self,
        content: &[u8],
        message: &mut Vec<u8>,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        self.try_encrypt(content, 0, rng, message)
    }

    /// Authenticates and decrypts a message of the peer's.
    ///
    /// What comes out is what the peer wrote: treat it as foreign input (text that is not UTF-8, terminal escapes).
    /// That no message is missing at the end of a conversation is for the app to find out.
    ///
    /// At most 25,000 missing messages are skipped over at once, and a session keeps the keys of the newest 2,000: for 2,000
    /// later turns of the peer, or 25,000 later messages where it takes none.
    ///
    /// # Errors
    /// What to do on each: the table of [`Error`].
    /// - [`Error::UnknownSession`]: no key of this session opens its header. Try the next session. Also what
    ///   a duplicate looks like once nothing of its chain is missing any more, a late message once all keys of its
    ///   chain were discarded, and every message to a session whose state was lost here.
    /// - [`Error::Unauthentic`], [`Error::Malformed`], [`Error::InvalidKey`]: the header is this session's, the
    ///   rest is not genuine. Final: no other session will do better.
    /// - [`Error::Duplicate`], [`Error::TooOld`]: its key is used up or discarded.
    /// - [`Error::TooFarAhead`], [`Error::PeerRolledBack`]: the message cannot be read, and others may not be either:
    ///   one side should start a new session.
    /// - [`Error::UnsupportedVersion`].
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        self.decrypt_into(message, &mut content)?;
        Ok(content)
    }

    /// [`Self::decrypt`] into a buffer of the caller's, whose content is replaced. On an error it is empty. If it has room
    /// for the message, which is longer than what is in it, nothing is allocated, but where a ratchet takes a step or
    /// messages are missing.
    ///
    /// What was in the buffer before is not wiped: do that where it matters.
    ///
    /// # Errors
    /// As [`Self::decrypt`].
    pub fn decrypt_into(&mut self, message: &[u8], content: &mut Vec<u8>) -> Result<(), Error> {
        let decrypted = self.try_decrypt(message, content);
        scrub_stack();
        decrypted
    }

    /// Who the peer is, authenticated by the handshake: for an initiator, the owner of the bundle.
    #[must_use]
    pub fn peer_identity(&self) -> &IdentityKey {
        &self.hot.peer
    }

    /// Names the session, on both sides alike. Prints as a name for its file.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.hot.id
    }

    /// Whether the handshake used a one-time prekey. Without one, the first messages can be read by who steals
    /// the responder's signed prekey, which is there until its owner first [rotates](crate::PreKeys::rotate) 37 days or
    /// more after it was made; and a server may have withheld one-time prekeys on purpose.
    #[must_use]
    pub fn used_one_time_prekey(&self) -> bool {
        self.hot.used_one_time_prekey
    }

    /// Whether the peer is known to have this session: it sent the first message of it, or has replied.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        !matches!(self.hot.progress, Progress::Unanswered(_))
    }

    /// The epoch of the PQ ratchet that this side sends in, which both sides have: 0 to begin with, then one more in
    /// about 15 messages of a conversation in which both sides write. Who copies this device's state, and can break
    /// X25519, reads what is sent until the first epoch that began afterwards, which is one or two epochs.
    #[must_use]
    pub fn pq_epoch(&self) -> u32 {
        self.hot.ratchet.pq_epoch()
    }

    /// Whether to start a new session with the peer as soon as convenient, because the PQ ratchet has ended: the peer,
    /// not the network, has broken its rules, or one side has put back an older state. Messages go on being protected by
    /// what was agreed on before. The other side need not have noticed.
    #[must_use]
    pub fn needs_rehandshake(&self) -> bool {
        self.hot.ratchet.pq_has_failed()
    }

    /// Whether to send on `other` instead of on this session from now on, after a message of the same peer's, of
    /// this kind, has been decrypted in `other`, or accepted as `other`.
    ///
    /// Peers may have several sessions: both began at once, or one lost its state and began anew. Each side sends
    /// on one of them, to begin with on what it initiated last, and follows the peer by this rule. As long as this
    /// session was initiated here and is unanswered, it yields to what the peer initiated at the same time only if
    /// `other` has the lower id (both sides see the same two ids), and not to late messages of older sessions; later
    /// it yields always. Keep the other sessions for decrypting what is under way. The
    /// [crate's documentation](crate#sessions-receiving) has it as code.
    ///
    /// A session with another peer never yields: `false` if [`peer_identity`](Self::peer_identity) differs. Do not
    /// ask for an `other` that was given up ([`Error::needs_rehandshake`], or replaced because nobody answered).
    #[must_use]
    pub fn yields_to(&self, other: &Self, kind: MessageKind) -> bool {
        self.hot.peer == other.hot.peer
            && (self.is_confirmed() || (kind == MessageKind::Initial && other.hot.id < self.hot.id))
    }

    /// How this side hides the length of what it sends; [`Padding::Buckets`] unless set. Stored with the
    /// session; the peer need not know.
    pub fn set_padding(&mut self, padding: Padding) {
        self.hot.padding = padding;
    }

    /// Encrypts the whole session for storage. The same state gives the same bytes.
    #[must_use]
    pub fn seal(&self, key: &StorageKey) -> Vec<u8> {
        sealed::seal(key, Kind::SealedSession, &[], &(&self.hot, &self.cold))
    }

    /// Decrypts a sealed session. After a crash the same bytes may be opened again, if nothing that the lost copy
    /// encrypted has left the device; what it had decrypted can be decrypted again. Never have two copies in use. A clone
    /// uses no key twice, but what it sends under numbers that the peer has received is refused
    /// ([`Error::PeerRolledBack`]); and once the original has gone on, as a rule by a round trip, clone and peer cannot
    /// read each other at all, which looks like [`Error::UnknownSession`] on both sides. After restoring a backup, begin
    /// anew.
    ///
    /// The seal says that the bytes are a session of ours, not which one, nor that it is the newest: who can write to
    /// the storage can swap two sessions or put an old one back without the key. Check
    /// [`peer_identity`](Self::peer_identity) after opening.
    ///
    /// # Errors
    /// [`Error::SealBroken`] for a wrong key or altered bytes, [`Error::UnsupportedVersion`],
    /// [`Error::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn open(key: &StorageKey, sealed: &[u8]) -> Result<Self, Error> {
        Self::try_open(key, sealed, &mut rand::rngs::SysRng)
    }

    /// [`Self::open`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::SealBroken`], [`Error::UnsupportedVersion`].
    pub fn open_with_rng(key: &StorageKey, sealed: &[u8], rng: &mut impl CryptoRng) -> Result<Self, Error> {
        Self::try_open(key, sealed, rng)
    }

    /// Encrypts the hot half alone: what every message changes, 0.6 to 2.7 KB once established. The cold half
    /// (keys of messages that have not arrived, up to 197 KiB) is [`seal_cold`](Self::seal_cold)'s.
    ///
    /// [`seal`](Self::seal) is simpler and does for most apps. The halves are for many messages a second, or large gaps
    /// in what arrives, when most messages change the hot half only. A new session writes both. Then, to save:
    ///
    /// 1. If [`cold_generation`](Self::cold_generation) is not that of the stored cold half, write the cold half under a
    ///    name that contains the generation, over what an interrupted attempt may have left there.
    /// 2. In one step store the hot half, that name, and the message or what was read.
    /// 3. Delete the cold half of before.
    #[must_use]
    pub fn seal_hot(&self, key: &StorageKey) -> Vec<u8> {
        sealed::seal(key, Kind::SealedHotSession, &[], &self.hot)
    }

    /// Encrypts the cold half. It has to be stored again, in one step with the hot half, when
    /// [`cold_generation`](Self::cold_generation) is another than that of the one stored.
    #[must_use]
    pub fn seal_cold(&self, key: &StorageKey) -> Vec<u8> {
        sealed::seal(key, Kind::SealedColdSession, &self.hot.cold_context(), &self.cold)
    }

    /// Counts the changes of the cold half. Stored with the hot half, so it goes on after opening.
    #[must_use]
    pub fn cold_generation(&self) -> u64 {
        self.hot.cold_generation
    }

    /// Puts a session together from both halves.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::SealBroken`] also if the halves are of different sessions or generations, or of two
    /// branches that a session was continued in after it had been rolled back.
    #[cfg(feature = "std")]
    pub fn open_halves(key: &StorageKey, hot: &[u8], cold: &[u8]) -> Result<Self, Error> {
        Self::try_open_halves(key, hot, cold, &mut rand::rngs::SysRng)
    }

    /// [`Self::open_halves`] with a generator of the caller's.
    ///
    /// # Errors
    /// [`Error::SealBroken`], [`Error::UnsupportedVersion`].
    pub fn open_halves_with_rng(
        key: &StorageKey,
        hot: &[u8],
        cold: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        Self::try_open_halves(key, hot, cold, rng)
    }
}

/// For the device layer, which keeps both halves in records of its own.
#[cfg(feature = "std")]
impl Session {
    /// [`Self::seal_hot`], bound to a context.
    pub(crate) fn seal_hot_in(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        sealed::seal(key, Kind::SealedHotSession, context, &self.hot)
    }

    /// [`Self::seal_cold`], bound to a context beside that of the hot half.
    pub(crate) fn seal_cold_in(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        let context = [&self.hot.cold_context()[..], context].concat();
        sealed::seal(key, Kind::SealedColdSession, &context, &self.cold)
    }

    /// Puts a session together from both halves, each with its context. The incarnation is the caller's: a new one, or that
    /// under which these very halves were stored.
    pub(crate) fn open_halves_in(
        key: &StorageKey,
        (hot_context, hot): (&[u8], &[u8]),
        cold: Option<(&[u8], &[u8])>,
        incarnation: u32,
    ) -> Result<Self, Error> {
        let hot: Box<Hot> = sealed::open(key, Kind::SealedHotSession, hot_context, hot)?;
        let cold = match cold {
            // It was never written, as nothing has been missing so far.
            None if hot.cold_generation == 0 => Box::default(),
            None => return Err(Error::SealBroken),
            Some((context, cold)) => {
                let context = [&hot.cold_context()[..], context].concat();
                sealed::open(key, Kind::SealedColdSession, &context, cold)?
            }
        };
        Ok(Self { hot, cold, incarnation })
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The hash of the handshake part that this session was accepted from.
    pub(crate) fn accepted_from(&self) -> Option<[u8; 32]> {
        match &self.hot.progress {
            Progress::Accepted(digest) => Some(*digest),
            Progress::Unanswered(_) | Progress::Answered => None,
        }
    }

    /// Copies of the keys that open the headers of messages of this session.
    pub(crate) fn header_keys(&self) -> HeaderKeys {
        self.hot.ratchet.header_keys(&self.cold)
    }
}

/// The hash that [`Session::accepted_from`] tells, of an initial message; none of another kind of message.
#[cfg(feature = "std")]
pub(crate) fn handshake_of(message: &[u8]) -> Result<Option<[u8; 32]>, Error> {
    Ok(Message::parse(message)?.handshake.map(|part| kdf::hash(Label::HANDSHAKE_PART, &[part])))
}

/// The same, over generators that may fail.
impl Session {
    fn try_initiate(
        identity: &IdentityKeyPair,
        bundle: &VerifiedBundle,
        payload: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Self, Error> {
        let session = Self::initiate_inner(identity, bundle, payload, rng);
        scrub_deep_stack();
        session
    }

    #[inline(never)]
    fn initiate_inner(
        identity: &IdentityKeyPair,
        bundle: &VerifiedBundle,
        payload: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Self, Error> {
        let (part, secrets) = handshake::initiate(identity, bundle, payload, rng)?;
        Self::begin(part, secrets, bundle, rng)
    }

    /// The initiator's session, out of a handshake.
    fn begin(
        part: Vec<u8>,
        secrets: SessionSecrets,
        bundle: &VerifiedBundle,
        rng: &mut impl TryCryptoRng,
    ) -> Result<Self, Error> {
        let hot = Hot {
            id: SessionId(secrets.session_id),
            associated_data: secrets.associated_data,
            peer: *bundle.identity_key(),
            used_one_time_prekey: bundle.has_one_time_prekey(),
            padding: Padding::default(),
            progress: Progress::Unanswered(part),
            ratchet: TripleRatchet::initiate(secrets, *bundle.signed_prekey().agreement()),
            cold_generation: 0,
            cold_incarnation: 0,
        };
        Self::created(Box::new(hot), Box::default(), rng)
    }

    fn try_accept(
        identity: &IdentityKeyPair,
        prekeys: &mut PreKeys,
        message: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Accepted, Error> {
        let accepted = Self::accept_inner(identity, prekeys, message, rng);
        scrub_deep_stack();
        accepted
    }

    #[inline(never)]
    fn accept_inner(
        identity: &IdentityKeyPair,
        prekeys: &mut PreKeys,
        message: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Accepted, Error> {
        let message = Message::parse(message)?;
        let part_bytes = message.handshake.ok_or(Error::UnknownSession)?;
        let part = HandshakePart::parse(part_bytes)?;
        let keys = prekeys.find(identity, &part.signed_prekey, part.one_time_prekey.as_ref())?;
        let responded = handshake::respond(identity, &keys, &part)?;
        let (id, associated_data) = (responded.secrets.session_id, responded.secrets.associated_data);
        let (ratchet, cold, content) =
            TripleRatchet::respond(responded.secrets, keys.signed_agreement(), &message)?;
        let hot = Hot {
            id: SessionId(id),
            associated_data,
            peer: responded.peer,
            used_one_time_prekey: part.one_time_prekey.is_some(),
            padding: Padding::default(),
            progress: Progress::Accepted(kdf::hash(Label::HANDSHAKE_PART, &[part_bytes])),
            ratchet,
            cold_generation: 0,
            cold_incarnation: 0,
        };
        let missing = cold.has_missing();
        let mut session = Self::created(Box::new(hot), cold, rng)?;
        if missing {
            // Keys of the messages before: generation 0 is that of a cold half with nothing in it, which need not be stored.
            session.hot.cold_changed(session.incarnation);
        }
        // Everything has authenticated. Only now does the handshake take effect.
        prekeys.used(&part.signed_prekey, part.one_time_prekey.as_ref(), responded.fingerprint);
        Ok(Accepted { session, content, payload: responded.payload })
    }

    fn try_encrypt(
        &mut self,
        content: &[u8],
        least: usize,
        rng: &mut impl TryCryptoRng,
        message: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let encrypted = self.encrypt_inner(content, least, rng, message);
        scrub_stack();
        encrypted
    }

    #[inline(never)]
    fn encrypt_inner(
        &mut self,
        content: &[u8],
        least: usize,
        rng: &mut impl TryCryptoRng,
        message: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let hot = &mut *self.hot;
        let (kind, handshake) = match &hot.progress {
            Progress::Unanswered(part) => (MessageKind::Initial, &part[..]),
            Progress::Answered | Progress::Accepted(_) => (MessageKind::Ratchet, &[][..]),
        };
        let envelope = Envelope {
            prefix: &[&[kind.tag()], handshake],
            associated_data: &hot.associated_data,
            incarnation: self.incarnation,
            padding: hot.padding,
            least,
        };
        hot.ratchet.seal(&envelope, content, rng, message)
    }

    #[inline(never)]
    fn try_decrypt(&mut self, message: &[u8], content: &mut Vec<u8>) -> Result<(), Error> {
        content.clear();
        let message = Message::parse(message)?;
        if let Some(part) = message.handshake
            && !self.hot.is_repeat(part)
        {
            return Err(Error::UnknownSession);
        }
        let receipt = self.hot.ratchet.open(&self.cold, &message, &self.hot.associated_data, content)?;
        // Everything has authenticated. What follows cannot fail.
        if self.hot.ratchet.commit(&mut self.cold, receipt) {
            self.hot.cold_changed(self.incarnation);
        }
        if let Progress::Unanswered(_) = self.hot.progress {
            self.hot.progress = Progress::Answered;
        }
        Ok(())
    }

    fn try_open(key: &StorageKey, bytes: &[u8], rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let (hot, cold) = sealed::open(key, Kind::SealedSession, &[], bytes)?;
        Self::with_incarnation(hot, cold, rng)
    }

    fn try_open_halves(
        key: &StorageKey,
        hot: &[u8],
        cold: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Self, Error> {
        let hot: Box<Hot> = sealed::open(key, Kind::SealedHotSession, &[], hot)?;
        let cold = sealed::open(key, Kind::SealedColdSession, &hot.cold_context(), cold)?;
        Self::with_incarnation(hot, cold, rng)
    }

    fn created(hot: Box<Hot>, cold: Box<Cold>, rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let mut session = Self::with_incarnation(hot, cold, rng)?;
        session.hot.cold_incarnation = session.incarnation;
        Ok(session)
    }

    fn with_incarnation(hot: Box<Hot>, cold: Box<Cold>, rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let incarnation = u32::from_be_bytes(*random::fill(rng)?.as_bytes());
        Ok(Self { hot, cold, incarnation })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.hot.id)
            .field("peer", &self.hot.peer)
            .field("confirmed", &self.is_confirmed())
            .finish_non_exhaustive()
    }
}

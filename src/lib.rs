//! End-to-end encrypted messaging: users with several devices over a durable store, a post-quantum hybrid handshake with
//! a sealed sender, a double ratchet with encrypted headers, padding on by default.
//!
//! There are two layers. [`Device`] is what an app uses. It needs `std`, and a [`Store`](store::Store):
//!
//! ```
//! use subrosa::{Device, Event, PreKeyBundle, StorageKey, store::SqliteStore};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = std::env::temp_dir().join(format!("rose-{}", std::process::id())); // where your app keeps its data
//!     std::fs::create_dir_all(&dir)?;
//!     let (alices, bobs) = (StorageKey::generate(), StorageKey::generate()); // each in its platform's keychain
//!     let mut alice = Device::create(SqliteStore::open(dir.join("alice.db"))?, &alices)?;
//!     let mut bob = Device::create(SqliteStore::open(dir.join("bob.db"))?, &bobs)?;
//!
//!     // Bob's app uploads his list of devices and his prekeys; Alice's fetches them. She has his id from himself.
//!     let public = bob.publication(0)?;
//!     let one_time = public.one_time_prekeys.first().cloned();
//!     let bundle = PreKeyBundle::new(public.identity_key, public.signed_prekey.clone(), one_time);
//!     bob.published(&public)?;
//!     alice.provide(&public.list.to_bytes())?;
//!     alice.provide_bundle(&public.address, Some(&bundle.to_bytes()))?;
//!
//!     // Encrypted for all devices of Bob's. It stays in her outbox until the server has it, whatever crashes.
//!     for out in alice.send(&bob.user(), b"Meet me under the rose.")? {
//!         let received = bob.receive(&out.bytes, None)?; // over any transport, to `out.to`
//!         alice.sent([out.id])?;
//!         for got in received {
//!             if let Event::Message { content, .. } = &got.event {
//!                 assert_eq!((got.from, &content[..]), (alice.address(), &b"Meet me under the rose."[..]));
//!             }
//!             bob.acknowledge([got.id])?; // it stays in his inbox until his app has it
//!         }
//!     }
//!     drop(alice);
//!     let mut alice = Device::open(SqliteStore::open(dir.join("alice.db"))?, &alices)?; // tomorrow
//!     let reply = bob.send(&alice.user(), b"At noon.")?;
//!     assert_eq!(alice.receive(&reply[0].bytes, Some(&bob.user()))?.len(), 1);
//!     Ok(std::fs::remove_dir_all(&dir)?)
//! }
//! ```
//!
//! [`Session`] is what is below it: two identities and one conversation, without I/O or a clock, with `alloc` alone:
//!
//! ```
//! use subrosa::{IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};
//!
//! fn main() -> Result<(), subrosa::Error> {
//!     // Each device makes its keys once. Bob's prekeys let others write to him while he is offline.
//!     let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
//!     let mut bob_prekeys = PreKeys::generate(&bob, 100, UnixTime::now());
//!     let from_server = bob_prekeys.bundle().to_bytes(); // what a server hands out for Bob
//!
//!     // Alice checks the bundle, and that its key is Bob's: she compares it with what he shows her.
//!     let bundle = PreKeyBundle::from_bytes(&from_server)?.verify(UnixTime::now())?;
//!     assert_eq!(bundle.identity_key(), bob.identity_key());
//!     let mut to_bob = Session::initiate(&alice, bundle)?;
//!     let message = to_bob.encrypt(b"Meet me under the rose.")?; // bytes for any transport
//!
//!     // Bob learns who wrote from the message itself, and answers.
//!     let (mut to_alice, text) = Session::accept(&bob, &mut bob_prekeys, &message)?;
//!     assert_eq!(text, b"Meet me under the rose.");
//!     assert_eq!(to_alice.peer_identity(), alice.identity_key());
//!     let reply = to_alice.encrypt(b"At noon.")?;
//!     assert_eq!(to_bob.decrypt(&reply)?, b"At noon.");
//!
//!     // Sealed state survives a restart. Save it after every call, with the message, before that leaves.
//!     let storage_key = StorageKey::generate(); // from the platform's keychain
//!     let saved = to_bob.seal(&storage_key);
//!     to_bob = Session::open(&storage_key, &saved)?;
//!     assert_eq!(to_alice.decrypt(&to_bob.encrypt(b"I will be there.")?)?, b"I will be there.");
//!     Ok(())
//! }
//! ```
//!
//! # What is where
//!
//! | you want to | use |
//! |---|---|
//! | be a user, on a first device | [`Device::create`], [`Device::open`] |
//! | send, receive | [`Device::send`], [`Device::outbox`], [`Device::receive`], [`Device::inbox`] |
//! | serve others' first messages | [`Device::publication`], [`Device::maintain`] |
//! | know who a user is | [`UserId`], which prints as checksummed text; [`Device::set_trust`] |
//! | send a file | [`AttachmentWriter`], [`AttachmentReader`], [`AttachmentDescriptor`]; without I/O [`AttachmentSealer`], [`AttachmentOpener`] |
//! | let two people verify each other | [`SafetyNumber`], to scan or to read; [`SasInitiator`], pictures on a call |
//! | have a second device; lose the first | [`Link`], [`Device::unlink`], [`Device::backup`], [`Device::restore`] |
//! | keep state elsewhere than in SQLite | [`store::Store`], [`store::conformance`] |
//! | know what to do when a call fails | the table of [`DeviceError`] |
//!
//! And with sessions alone:
//!
//! | you want to | use |
//! |---|---|
//! | make or keep a device's keys | [`IdentityKeyPair`], [`PreKeys`] |
//! | know who somebody is | [`IdentityKey`], which prints as checksummed text |
//! | write to somebody for the first time | [`PreKeyBundle`] → [`verify`](PreKeyBundle::verify) → [`Session::initiate`] |
//! | read somebody's first message | [`Session::accept`] |
//! | go on | [`Session::encrypt`], [`Session::decrypt`] |
//! | store | [`StorageKey`], and `seal` and `open` of each of the above |
//! | know what to do when a call fails | the table of [`Error`] |
//!
//! # Sessions: who it is
//!
//! A [`VerifiedBundle`] belongs to the identity key in it. That this key is Bob's is for the app to compare: the first
//! time, with what Bob shows over a channel that the server does not control; every time after, also when a session is
//! begun anew, with the [`peer_identity`](Session::peer_identity) that is known. A session that is accepted may be
//! anybody's: show an unknown identity as unknown.
//!
//! # Sessions: storing
//!
//! Store what changed together in one step: a database transaction, or new files, flushed, and then one rename of the
//! file that names them.
//!
//! | after | in one step | then |
//! |---|---|---|
//! | [`encrypt`](Session::encrypt) | the session; the message, in an outbox | send; take it out of the outbox once the server has it |
//! | [`decrypt`](Session::decrypt) | the session; what you read | acknowledge to the server |
//! | [`accept`](Session::accept) | the session; the prekeys; what you read | acknowledge to the server |
//! | `refill`, `rotate`, `hand_out`, `bundle` of [`PreKeys`] | the prekeys | upload |
//! | a change of which session is sent on | the order of the sessions ([below](#sessions-receiving)) | |
//!
//! After a crash send again what is in the outbox: a message that arrives twice is refused, and does no harm. Without an
//! outbox a message that was saved and not sent is lost, and nobody notices.
//!
//! One [`StorageKey`] may seal everything. What you read and the outbox are yours to encrypt: `seal` is for this crate's
//! state only. A session's [`id`](Session::id) prints as a name for its file. If saving the whole session after every
//! message is too much, store it in two [halves](Session::seal_hot).
//!
//! # Sessions: receiving
//!
//! A message does not say whose it is, nor which session it belongs to. Keep all sessions with everybody, and try
//! them. One peer may have several (it lost its state and began anew, or both sides began at once): **the one to send
//! on with a peer is its last one in the `Vec`**. Push there what you initiate. The order is state: store it as well.
//!
//! ```
//! use subrosa::{Error, IdentityKey, IdentityKeyPair, MessageKind, PreKeys, Session};
//!
//! /// `sessions` are all that there are, with everybody. Returns who wrote, and what.
//! fn receive(
//!     me: &IdentityKeyPair,
//!     prekeys: &mut PreKeys,
//!     sessions: &mut Vec<Session>,
//!     message: &[u8],
//! ) -> Result<(IdentityKey, Vec<u8>), Error> {
//!     let kind = MessageKind::of(message)?;
//!     for i in (0..sessions.len()).rev() {
//!         match sessions[i].decrypt(message) {
//!             Err(Error::UnknownSession) => continue, // another session's
//!             Err(error) => return Err(error),
//!             Ok(content) => return Ok((follow(sessions, i, kind), content)),
//!         }
//!     }
//!     if kind != MessageKind::Initial {
//!         return Err(Error::UnknownSession);
//!     }
//!     // Anybody may write this. It begins a conversation with its author, and does not touch another one.
//!     let (session, content) = Session::accept(me, prekeys, message)?;
//!     sessions.insert(0, session);
//!     Ok((follow(sessions, 0, kind), content))
//! }
//!
//! /// A message was read in session `i`: makes it the last one of its peer, to be sent on, if the one that is yields.
//! fn follow(sessions: &mut [Session], i: usize, kind: MessageKind) -> IdentityKey {
//!     let peer = *sessions[i].peer_identity();
//!     if let Some(last) = sessions.iter().rposition(|session| *session.peer_identity() == peer)
//!         && last != i
//!         && sessions[last].yields_to(&sessions[i], kind)
//!     {
//!         sessions[i..=last].rotate_left(1);
//!     }
//!     peer
//! }
//! # let now = subrosa::UnixTime::now();
//! # let [alice, bob, mallory] = std::array::from_fn(|_| IdentityKeyPair::generate());
//! # let mut prekeys = PreKeys::generate(&bob, 2, now);
//! # let mut to_bob = Session::initiate(&alice, prekeys.bundle().verify(now)?)?;
//! # let mut of_mallory = Session::initiate(&mallory, prekeys.bundle().verify(now)?)?;
//! # let mut sessions = Vec::new();
//! # let a = *alice.identity_key();
//! # assert_eq!(receive(&bob, &mut prekeys, &mut sessions, &to_bob.encrypt(b"1")?)?, (a, b"1".to_vec()));
//! # let m = *mallory.identity_key();
//! # assert_eq!(receive(&bob, &mut prekeys, &mut sessions, &of_mallory.encrypt(b"2")?)?, (m, b"2".to_vec()));
//! # assert_eq!(receive(&bob, &mut prekeys, &mut sessions, &to_bob.encrypt(b"3")?)?, (a, b"3".to_vec()));
//! # assert_eq!(sessions.len(), 2);
//! # let last = sessions.iter().rposition(|session| *session.peer_identity() == a).unwrap();
//! # assert_eq!(sessions[last].id(), to_bob.id());
//! # Ok::<(), Error>(())
//! ```
//!
//! A session of an unknown peer is a stranger's until you know the identity key. Anybody can open any number of them:
//! cap the unknown senders that you keep. Of each peer keep a few sessions (40 are plenty) for messages under way; drop
//! those least recently used, never the one sent on. The order above is not that of use: keep the time of the last
//! message beside each session.
//!
//! When a first message is not answered in the time that you expect, begin anew from a fresh bundle: the recipient may
//! never be able to accept it ([`Error::UnknownPreKey`], [`Error::ReplayRecordFull`] there), and a session that is not
//! answered does not yield to the peer's older ones.
//!
//! A call that fails has changed nothing. [`Error`] says what to do with the message, and
//! [`Error::needs_rehandshake`] whether to begin anew; [`Session::needs_rehandshake`] says it of a session that goes on, but
//! no longer heals against quantum computers.
//!
//! # Sizes
//!
//! | | bytes |
//! |---|---|
//! | identity key; as text | 64; 114 characters |
//! | bundle, with and without a one-time prekey | 3,404; 1,739 |
//! | message with up to 217 bytes of content, padded as by default | 341 |
//! | added to content without padding | 90; 124 with a codeword of the PQ ratchet |
//! | added to every message until the first reply | 1,763 and the payload |
//! | sealed session, nothing missing | 0.6 to 2.7 KB; each skipped message adds about 70 bytes |
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `std`, by default | the system's generator and clock: the functions that have a twin `*_with_rng`, and `UnixTime::now`; [`store`] |
//! | `sqlite`, by default | `std`, and `store::SqliteStore`: not on `wasm32-unknown-unknown` |
//! | `attachments`, by default | the files of attachments; BLAKE3 |
//! | `rayon` | `std`; large attachments on all cores |
//! | `aws-lc-rs` | `std`; the same bytes from AWS-LC (C and assembly), turns and handshakes in 0.6 of the time |
//! | `wasm_js` | `std`, and randomness from the Web Crypto API: for `wasm32-unknown-unknown` in a browser or Node.js |
//!
//! Without `std` the crate needs `alloc`: use the `*_with_rng` functions and [`UnixTime::from_secs`].
//!
//! # More
//!
//! The protocol is specified byte by byte in `docs/SPEC.md`; what is protected against whom is in `SECURITY.md`;
//! departures from the published specifications are in `docs/DECISIONS.md`.

#![forbid(unsafe_code)]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test that panics is a test that fails"
    )
)]

extern crate alloc;

mod attachment;
mod crypto;
#[cfg(feature = "std")]
mod device;
mod error;
mod handshake;
mod keys;
mod ratchet;
mod roster;
mod sealed;
mod session;
#[cfg(feature = "std")]
pub mod store;
#[cfg(test)]
mod vectors;
mod verify;
mod wire;

pub use attachment::{AttachmentDescriptor, MAX_ATTACHMENT_LEN, MAX_FILE_NAME_LEN, MAX_THUMBNAIL_LEN};
#[cfg(feature = "attachments")]
pub use attachment::{AttachmentError, AttachmentOpener, AttachmentSealer};
#[cfg(all(feature = "attachments", feature = "std"))]
pub use attachment::{AttachmentReader, AttachmentWriter};
#[cfg(feature = "std")]
pub use device::{
    BackupLock, BundleOutcome, Config, Device, DeviceError, Draft, Event, InboxId, Incoming, LOW_WATER, Link,
    MAX_MESSAGE_LEN, MessageId, Missing, OutboxId, Outgoing, Publication, Received, RecoveryKey, Refusal,
    Settings, Tasks, Trust, UserInfo,
};
pub use error::Error;
pub use keys::{
    IdentityKey, IdentityKeyPair, OneTimePreKey, PreKeyBundle, PreKeys, SignedPreKey, UnixTime,
    VerifiedBundle,
};
pub use roster::{Address, DeviceId, DeviceList, UserId};
pub use sealed::StorageKey;
pub use session::{Accepted, Session, SessionId};
pub use verify::{Emoji, SafetyNumber, SasCode, SasInitiator, SasResponder, SasStep, Scan};
pub use wire::{MAX_CONTENT_LEN, MAX_PAYLOAD_LEN, MessageKind, Padding};

/// The operating system's generator, for calls that cannot report that it failed.
#[cfg(feature = "std")]
fn system_rng() -> impl rand::CryptoRng {
    rand::rand_core::UnwrapErr(rand::rngs::SysRng)
}

/// The README's examples compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

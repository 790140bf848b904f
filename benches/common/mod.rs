//! Sessions ready to be measured.
#![allow(dead_code, reason = "each bench uses its part")]

use subrosa::{IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};

/// The lengths of content that one-way traffic is measured at, in bytes.
pub(crate) const SIZES: [usize; 5] = [32, 256, 1024, 16 * 1024, 64 * 1024];

/// How many messages are missing, or in reverse, where it says so.
pub(crate) const MANY: usize = 1000;

/// Content of a length of at most the longest of [`SIZES`].
pub(crate) fn content(len: usize) -> &'static [u8] {
    static CONTENT: [u8; 64 * 1024] = [0x5a; _];
    &CONTENT[..len]
}

/// A responder with one one-time prekey, whose state can be restored after every handshake.
pub(crate) struct Responder {
    pub(crate) identity: IdentityKeyPair,
    /// A bundle as it comes from a server.
    pub(crate) bundle: Vec<u8>,
    prekeys: Vec<u8>,
    storage_key: StorageKey,
}

impl Responder {
    pub(crate) fn new() -> Self {
        let identity = IdentityKeyPair::generate();
        let mut prekeys = PreKeys::generate(&identity, 1, UnixTime::now());
        let bundle = prekeys.bundle().to_bytes();
        let storage_key = StorageKey::generate();
        Self { identity, bundle, prekeys: prekeys.seal(&storage_key), storage_key }
    }

    /// The prekeys as they were before any handshake.
    pub(crate) fn prekeys(&self) -> PreKeys {
        PreKeys::open(&self.storage_key, &self.prekeys).unwrap()
    }
}

/// What an initiator does with a bundle: checks it, starts a session, encrypts the first message.
pub(crate) fn initiate(identity: &IdentityKeyPair, bundle: &[u8], now: UnixTime) -> (Session, Vec<u8>) {
    let bundle = PreKeyBundle::from_bytes(bundle).unwrap().verify(now).unwrap();
    let mut session = Session::initiate(identity, bundle).unwrap();
    let message = session.encrypt(content(256)).unwrap();
    (session, message)
}

/// Both ends of a session with nothing missing, the first of which has a chain to go on sending in.
pub(crate) fn established() -> (Session, Session) {
    let responder = Responder::new();
    let (mut alice, initial) = initiate(&IdentityKeyPair::generate(), &responder.bundle, UnixTime::now());
    let (mut bob, _) = Session::accept(&responder.identity, &mut responder.prekeys(), &initial).unwrap();
    deliver(&mut bob, &mut alice);
    deliver(&mut alice, &mut bob);
    (alice, bob)
}

/// The same, but [`MANY`] messages in the first's chain have not reached the second, which has its own chain.
pub(crate) fn established_with_skipped() -> (Session, Session) {
    let (mut alice, mut bob) = established();
    messages(&mut alice, content(0), MANY);
    deliver(&mut alice, &mut bob);
    messages(&mut bob, content(0), 1);
    (alice, bob)
}

/// That many messages of the same content, in order.
pub(crate) fn messages(from: &mut Session, content: &[u8], count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| from.encrypt(content).unwrap()).collect()
}

/// One message of 256 bytes on its way.
pub(crate) fn deliver(from: &mut Session, to: &mut Session) {
    let message = from.encrypt(content(256)).unwrap();
    assert_eq!(to.decrypt(&message).unwrap(), content(256));
}

//! Alice, Bob and what they have said so far. Seeded: the same bytes in every run.

use std::sync::LazyLock;

use chacha20::ChaCha20Rng;
use rand::SeedableRng;
use subrosa::{
    Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session, SessionId, StorageKey, UnixTime, UserId,
    VerifiedBundle,
};

/// The time of everything.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Made once per process.
pub static FIXTURE: LazyLock<Fixture> =
    LazyLock::new(|| Fixture::new().expect("two honest peers understand each other"));

/// A generator that gives the same bytes in every run.
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Two identities, and sealed states of theirs at points worth attacking.
pub struct Fixture {
    pub key: StorageKey,
    pub alice: IdentityKeyPair,
    pub bob: IdentityKeyPair,
    /// Bob's.
    pub identity: Vec<u8>,
    /// Bob's, with and without a one-time prekey.
    pub bundles: [PreKeyBundle; 2],
    /// Bob's, before anybody has written to him: every one of `initial` can be accepted.
    pub prekeys: Vec<u8>,
    /// Initial messages of Alice's.
    pub initial: Vec<Initial>,
    /// Alice's session at its beginning: nothing sent.
    pub beginning: Vec<u8>,
    pub scenes: [Scene; 2],
    /// Bob's session in halves, at two points: (hot, cold). One's hot half does not go with the other's cold one.
    pub halves: [(Vec<u8>, Vec<u8>); 2],
}

/// A genuine message and its content.
pub struct Genuine {
    pub bytes: Vec<u8>,
    pub content: Vec<u8>,
}

/// A genuine initial message, and what accepting it brings.
pub struct Initial {
    pub message: Genuine,
    pub payload: Vec<u8>,
    pub session: SessionId,
}

/// A session, and everything that the network has for it.
pub struct Scene {
    pub sealed: Vec<u8>,
    /// Not delivered yet: each will open, as the only one or among the others.
    pub pending: Vec<Genuine>,
    /// Delivered before, or not meant for this side: refused.
    pub spent: Vec<Vec<u8>>,
}

impl Fixture {
    /// Alice and Bob as users: every Ed25519 key is somebody's.
    pub fn users(&self) -> [UserId; 2] {
        [&self.alice, &self.bob].map(|device| {
            UserId::from_bytes(&device.identity_key().to_bytes()[..UserId::LEN])
                .expect("a key that was made here")
        })
    }

    /// The genuine bytes of every kind of sealed state.
    pub fn sealed(&self) -> Vec<&[u8]> {
        let [early, late] = &self.halves;
        let [bob, alice] = &self.scenes;
        vec![&self.identity, &self.prekeys, &bob.sealed, &alice.sealed, &late.0, &late.1, &early.0, &early.1]
    }

    fn new() -> Result<Self, Error> {
        let rng = &mut rng(1);
        let key = StorageKey::from_bytes(&[7; 32]);
        let (alice, bob) = (IdentityKeyPair::generate_with_rng(rng), IdentityKeyPair::generate_with_rng(rng));
        let mut prekeys = PreKeys::generate_with_rng(&bob, 2, NOW, rng);
        let with_one_time = prekeys.bundle();
        let last_resort = PreKeyBundle::new(*bob.identity_key(), prekeys.signed_prekey(), None);
        let sealed_prekeys = prekeys.seal(&key);

        let mut initiate =
            |bundle: VerifiedBundle, payload: &[u8]| Session::initiate_with_rng(&alice, bundle, payload, rng);
        let mut a = initiate(with_one_time.clone().verify(NOW)?, b"")?;
        let mut other = initiate(last_resort.clone().verify(NOW)?, b"certificate")?;
        let beginning = a.seal(&key);
        let first = send(&mut a, "first, with a one-time prekey")?;
        let again = send(&mut a, "repeats the handshake")?;
        let third = send(&mut a, "and once more")?;
        let without = send(&mut other, "without a one-time prekey")?;
        let unanswered = a.seal(&key);

        // Bob accepts; the second and third message stay under way.
        let accepted = Session::accept_with_rng(&bob, &mut prekeys, &first.bytes, &mut self::rng(2))?;
        let mut b = accepted.session;
        let replies = [send(&mut b, "a reply")?, send(&mut b, "another reply")?];
        a.decrypt(&replies[0].bytes)?;
        // Alice's second chain: one message skipped, one to come.
        let [one, skipped, two, next] =
            [send(&mut a, "one")?, send(&mut a, "skipped")?, send(&mut a, "two")?, send(&mut a, "next")?];
        b.decrypt(&one.bytes)?;
        let early = (b.seal_hot(&key), b.seal_cold(&key));
        b.decrypt(&two.bytes)?;
        // Bob's second chain opens Alice's third, of which nothing has arrived.
        let turn = send(&mut b, "your turn")?;
        a.decrypt(&turn.bytes)?;
        let turned = [send(&mut a, "turned")?, send(&mut a, &"and on ".repeat(200))?];

        let initial = |message: &Genuine, session: &Session, payload: &[u8]| Initial {
            message: message.clone(),
            payload: payload.to_vec(),
            session: session.id(),
        };
        let initial = vec![
            initial(&first, &a, b""),
            initial(&again, &a, b""),
            initial(&without, &other, b"certificate"),
        ];
        let bob_scene = Scene {
            sealed: b.seal(&key),
            spent: vec![first.bytes.clone(), one.bytes, two.bytes, turn.bytes, without.bytes],
            pending: [again, third, skipped, next].into_iter().chain(turned).collect(),
        };
        let alice_scene = Scene { sealed: unanswered, pending: replies.into(), spent: vec![first.bytes] };
        Ok(Self {
            alice,
            identity: bob.seal(&key),
            bob,
            bundles: [with_one_time, last_resort],
            prekeys: sealed_prekeys,
            initial,
            beginning,
            scenes: [bob_scene, alice_scene],
            halves: [early, (b.seal_hot(&key), b.seal_cold(&key))],
            key,
        })
    }
}

impl Scene {
    /// The session, opened again.
    pub fn session(&self) -> Session {
        let opened = Session::open_with_rng(&FIXTURE.key, &self.sealed, &mut rng(3));
        opened.expect("it was sealed under this key")
    }

    /// Every genuine message, pending ones first.
    pub fn messages(&self) -> Vec<&[u8]> {
        let pending = self.pending.iter().map(|message| &message.bytes[..]);
        pending.chain(self.spent.iter().map(|bytes| &bytes[..])).collect()
    }
}

impl Clone for Genuine {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), content: self.content.clone() }
    }
}

fn send(session: &mut Session, content: &str) -> Result<Genuine, Error> {
    let bytes = session.encrypt_with_rng(content.as_bytes(), &mut rng(4))?;
    Ok(Genuine { bytes, content: content.into() })
}

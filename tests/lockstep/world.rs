//! People who are each run twice, by the crate and by the reference, with the same randomness. Every operation compares
//! what comes out: bytes, contents, errors, how much was drawn, and what can be seen of a session.

use std::{collections::VecDeque, convert::Infallible};

use chacha20::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng, TryCryptoRng, TryRng};
use subrosa::{Error, IdentityKeyPair, MessageKind, PreKeys, Session as Ours, StorageKey, UnixTime};

use crate::reference::{
    encoding::{Padding, Reader, kind},
    notes::{self, Tally, note},
    prekeys::{Identity, Prekeys},
    primitives::{Refusal, Tape},
    session::Session as Model,
};

impl TryRng for Tape {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Tape {}

/// One session, twice.
pub struct Both {
    pub ours: Ours,
    pub model: Model,
}

impl Both {
    /// What can be seen of a session is the same.
    pub fn compare(&self) {
        let Self { ours, model } = self;
        assert_eq!(ours.id().to_bytes(), model.id);
        assert_eq!(ours.peer_identity().to_bytes(), model.peer);
        assert_eq!(ours.used_one_time_prekey(), model.used_one_time_prekey);
        assert_eq!(ours.is_confirmed(), model.answered);
        assert_eq!(ours.pq_epoch(), model.pq.sending_epoch);
        assert_eq!(ours.needs_rehandshake(), model.needs_rehandshake());
    }

    /// Whether this session, which is sent on, yields to another one.
    fn yields_to(&self, other: &Self, kind: MessageKind) -> bool {
        let byte = if kind == MessageKind::Initial { kind::INITIAL_MESSAGE } else { kind::RATCHET_MESSAGE };
        let yields = self.model.yields_to(&other.model, byte);
        assert_eq!(self.ours.yields_to(&other.ours, kind), yields);
        yields
    }
}

/// A session as it was stored.
pub struct Stored {
    sealed: Vec<u8>,
    model: Model,
}

pub struct Person {
    pub identity: (IdentityKeyPair, Identity),
    pub prekeys: (PreKeys, Prekeys),
    /// With everybody. The last one with a peer is the one that is sent on.
    pub sessions: Vec<Both>,
    pub stored: Vec<Stored>,
    /// Bundles that were handed out, each to be used once.
    pub bundles: Vec<Vec<u8>>,
}

impl Person {
    pub fn ik(&self) -> [u8; 64] {
        self.identity.1.ik
    }

    pub fn model_identity(&self) -> &Identity {
        &self.identity.1
    }
}

pub struct World {
    /// Of the schedule.
    pub rng: ChaCha20Rng,
    /// Of what is run.
    randomness: ChaCha20Rng,
    pub now: u64,
    pub people: Vec<Person>,
    pub tally: Tally,
    /// Sessions as they were, which a liar keeps: whose, and the session.
    pub kept: VecDeque<(usize, Model)>,
    /// The last operations, for who has to find what went wrong.
    log: VecDeque<String>,
}

fn storage_key() -> StorageKey {
    StorageKey::from_bytes(&[0x5e; 32])
}

/// The same content, or the same error.
pub fn same<A, B>(
    ours: Result<A, Error>,
    model: Result<B, Refusal>,
    equal: impl Fn(&A, &B) -> bool,
) -> Result<(A, B), Refusal> {
    match (ours, model) {
        (Ok(ours), Ok(model)) if equal(&ours, &model) => Ok((ours, model)),
        (Err(ours), Err(model)) if format!("{ours:?}") == format!("{model:?}") => Err(model),
        (Ok(_), Ok(_)) => panic!("crate and reference give different values"),
        (ours, model) => panic!(
            "the crate says {:?}, the reference {:?}",
            ours.err().map_or("Ok".into(), |error| format!("{error:?}")),
            model.err().map_or("Ok".into(), |refusal| format!("{refusal:?}")),
        ),
    }
}

pub fn noted<T>(what: &str, result: Result<T, Refusal>) -> Result<T, Refusal> {
    note(result.as_ref().err().map_or(what.into(), |refusal| format!("{what}: {refusal:?}")));
    result
}

/// Both have drawn the same.
pub fn alike(tapes: &[Tape; 2]) {
    assert_eq!(tapes[0].drawn(), tapes[1].drawn(), "one draws more than the other");
}

impl World {
    /// A world of so many people.
    pub fn new(seed: u64, people: usize, one_time: u16) -> Self {
        let mut world = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            randomness: ChaCha20Rng::seed_from_u64(!seed),
            now: 1_800_000_000,
            people: Vec::new(),
            tally: Tally::new(),
            kept: VecDeque::new(),
            log: VecDeque::new(),
        };
        for _ in 0..people {
            let (now, mut tapes) = (world.now, world.tapes(3 + usize::from(one_time)));
            let ours = IdentityKeyPair::generate_with_rng(&mut tapes[0]);
            let model = Identity::generate(&mut tapes[1]);
            assert_eq!(ours.identity_key().to_bytes(), model.ik);
            let prekeys = (
                PreKeys::generate_with_rng(&ours, one_time, UnixTime::from_secs(now), &mut tapes[0]),
                Prekeys::generate(&model, one_time.into(), now, &mut tapes[1]),
            );
            alike(&tapes);
            let (sessions, stored, bundles) = (Vec::new(), Vec::new(), Vec::new());
            world.people.push(Person { identity: (ours, model), prekeys, sessions, stored, bundles });
        }
        world
    }

    /// Prints what went before, if it panics; and returns what happened.
    pub fn run(mut self, name: &str, seed: u64, run: impl FnOnce(&mut Self)) -> Tally {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut self)));
        if let Err(panic) = result {
            eprintln!("{name}, seed {seed}, after:");
            for line in &self.log {
                eprintln!("  {line}");
            }
            std::panic::resume_unwind(panic);
        }
        notes::count(&mut self.tally);
        self.tally
    }

    pub fn log(&mut self, line: String) {
        if self.log.len() == 30 {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    /// The same randomness for both: so many times 32 bytes at most.
    pub fn tapes(&mut self, draws: usize) -> [Tape; 2] {
        let mut bytes = vec![0; 32 * draws];
        self.randomness.fill_bytes(&mut bytes);
        [Tape::new(bytes.clone()), Tape::new(bytes)]
    }

    pub fn set_padding(&mut self, who: usize, session: usize, padding: Padding) {
        let both = &mut self.people[who].sessions[session];
        both.model.padding = padding;
        both.ours.set_padding(match padding {
            Padding::None => subrosa::Padding::None,
            Padding::Buckets => subrosa::Padding::Buckets,
        });
    }

    pub fn encrypt(&mut self, who: usize, session: usize, content: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut tapes = self.tapes(2);
        let both = &mut self.people[who].sessions[session];
        let ours = both.ours.encrypt_with_rng(content, &mut tapes[0]);
        let model = both.model.encrypt(content, &mut tapes[1]);
        alike(&tapes);
        let sealed = same(ours, model, |ours, model| ours == model);
        both.compare();
        noted("encrypt", sealed).map(|(sealed, _)| sealed)
    }

    /// In this session alone.
    pub fn decrypt(&mut self, who: usize, session: usize, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let watched = self.rng.random_range(0..40) == 0;
        let both = &mut self.people[who].sessions[session];
        let before = watched.then(|| both.ours.seal(&storage_key()));
        let results = (both.ours.decrypt(message), both.model.decrypt(message));
        let read = same(results.0, results.1, |ours, model| ours == model);
        both.compare();
        if let (Some(before), Err(_)) = (before, &read) {
            assert!(before == both.ours.seal(&storage_key()), "a refused message changed the state");
        }
        noted("decrypt", read).map(|(content, _)| content)
    }

    /// As an application does: all sessions, then `accept` (section 11). The session that it is for, and the content.
    pub fn deliver(&mut self, who: usize, message: &[u8]) -> Result<(usize, Vec<u8>), Refusal> {
        let kinds = [kind::INITIAL_MESSAGE, kind::RATCHET_MESSAGE];
        let kind = same(MessageKind::of(message), Reader::new(message).kind(&kinds), |ours, model| {
            (*ours == MessageKind::Initial) == (*model == kind::INITIAL_MESSAGE)
        });
        for session in (0..self.people[who].sessions.len()).rev() {
            match self.decrypt(who, session, message) {
                Err(Refusal::UnknownSession) => {}
                Err(refusal) => return Err(refusal),
                Ok(content) => return Ok((self.follow(who, session, message), content)),
            }
        }
        let content = self.accept(who, message)?;
        assert!(kind.is_ok_and(|(kind, _)| kind == MessageKind::Initial));
        Ok((self.follow(who, 0, message), content))
    }

    /// What is read.
    pub fn give(&mut self, who: usize, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.deliver(who, message).map(|(_, content)| content)
    }

    /// The session becomes the first one.
    pub fn accept(&mut self, who: usize, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut tapes = self.tapes(1);
        let Person { identity, prekeys, .. } = &mut self.people[who];
        let ours = Ours::accept_with_rng(&identity.0, &mut prekeys.0, message, &mut tapes[0]);
        let model = Model::accept(&identity.1, &mut prekeys.1, message, &mut tapes[1]);
        alike(&tapes);
        let accepted = same(
            ours.map(|accepted| (accepted.content, accepted.payload, accepted.session)),
            model.map(|accepted| (accepted.content, accepted.payload, accepted.session)),
            |ours, model| ours.0 == model.0 && ours.1 == model.1,
        );
        let ((content, _, ours), (_, _, model)) = noted("accept", accepted)?;
        let both = Both { ours, model };
        both.compare();
        self.people[who].sessions.insert(0, both);
        Ok(content)
    }

    /// Rule 2 of section 11. Where the session is then.
    fn follow(&mut self, who: usize, session: usize, message: &[u8]) -> usize {
        let kind = MessageKind::of(message).unwrap();
        let sessions = &mut self.people[who].sessions;
        let peer = sessions[session].model.peer;
        let last = sessions.iter().rposition(|both| both.model.peer == peer).unwrap();
        if last == session {
            return session;
        }
        if sessions[last].yields_to(&sessions[session], kind) {
            note("a session yields");
            sessions[session..=last].rotate_left(1);
            return last;
        }
        note("a session does not yield");
        session
    }

    pub fn store(&mut self, who: usize, session: usize) -> Stored {
        let both = &self.people[who].sessions[session];
        Stored { sealed: both.ours.seal(&storage_key()), model: both.model.clone() }
    }

    /// Replaces the session of the same id, or comes back.
    pub fn restore(&mut self, who: usize, stored: &Stored) {
        let key = storage_key();
        let mut tapes = self.tapes(1);
        let ours = Ours::open_with_rng(&key, &stored.sealed, &mut tapes[0]).unwrap();
        let model = stored.model.reopened(&mut tapes[1]);
        alike(&tapes);
        let both = Both { ours, model };
        both.compare();
        let sessions = &mut self.people[who].sessions;
        match sessions.iter().position(|other| other.model.id == both.model.id) {
            Some(session) => sessions[session] = both,
            None => sessions.insert(0, both),
        }
    }

    /// A restart, from one sealed state or from two halves.
    pub fn reopen(&mut self, who: usize, session: usize) {
        note("reopen");
        if self.rng.random() {
            let stored = self.store(who, session);
            return self.restore(who, &stored);
        }
        let key = storage_key();
        let mut tapes = self.tapes(1);
        let both = &mut self.people[who].sessions[session];
        let (hot, cold) = (both.ours.seal_hot(&key), both.ours.seal_cold(&key));
        both.ours = Ours::open_halves_with_rng(&key, &hot, &cold, &mut tapes[0]).unwrap();
        both.model = both.model.reopened(&mut tapes[1]);
        alike(&tapes);
        both.compare();
    }
}

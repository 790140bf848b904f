//! This crate, vodozemac and the primitives, measured against each other.
//!
//! The machine is taken to be noisy. All contenders take turns with short batches until the time is up, and
//! the cheapest batch of each counts: what disturbs a measurement makes it longer, never shorter.
#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::panic, reason = "a benchmark stops at what it did not expect")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use subrosa::Session;
use vodozemac::{
    Curve25519PublicKey,
    olm::{
        Account, AccountPickle, InboundCreationResult, OlmMessage, PreKeyMessage, Session as OlmSession,
        SessionConfig,
    },
};

use crate::{
    common::{content, established, messages},
    floor,
};

/// How many batches each runs when it is its turn. The first has to warm up the caches.
pub(crate) const BATCHES_PER_TURN: usize = 4;

/// An operation, and who does it.
pub(crate) struct Case {
    pub(crate) name: String,
    /// How many operations make a batch.
    pub(crate) batch: usize,
    pub(crate) ours: Contender,
    pub(crate) vodozemac: Option<Contender>,
    pub(crate) floor: Contender,
}

impl Case {
    /// Lets every contender run that many batches.
    pub(crate) fn turn(&mut self, batches: usize, batch: usize) {
        for contender in [Some(&mut self.ours), self.vodozemac.as_mut(), Some(&mut self.floor)] {
            contender.into_iter().for_each(|contender| contender.turn(batches, batch));
        }
    }
}

/// One way to do the operation of a case, and the least that it has taken.
pub(crate) struct Contender {
    /// Runs that many operations; how long they took, without what had to be made ready for them.
    run: Box<dyn FnMut(usize) -> Duration>,
    /// For one operation: the mean of the fastest batch so far.
    pub(crate) nanoseconds: f64,
}

impl Contender {
    pub(crate) fn new(run: impl FnMut(usize) -> Duration + 'static) -> Self {
        Self { run: Box::new(run), nanoseconds: f64::INFINITY }
    }

    pub(crate) fn turn(&mut self, batches: usize, batch: usize) {
        for _ in 0..batches {
            let mean = (self.run)(batch).as_secs_f64() * 1e9 / batch as f64;
            self.nanoseconds = self.nanoseconds.min(mean);
        }
    }
}

/// Time for that many operations.
pub(crate) fn timed<T>(count: usize, mut operation: impl FnMut() -> T) -> Duration {
    timed_each(0..count, |_| operation())
}

/// Time for an operation on each input.
pub(crate) fn timed_each<I: IntoIterator, T>(inputs: I, mut operation: impl FnMut(I::Item) -> T) -> Duration {
    let start = Instant::now();
    for input in inputs {
        black_box(operation(input));
    }
    start.elapsed()
}

pub(crate) fn encrypt(size: usize) -> Case {
    let content = content(size);
    let (mut alice, _) = established();
    let (mut olm_alice, _) = olm_established();
    Case {
        name: format!("encrypt_{size}"),
        batch: batch_of(size),
        ours: Contender::new(move |count| timed(count, || alice.encrypt(content).unwrap())),
        vodozemac: Some(Contender::new(move |count| timed(count, || olm_alice.encrypt(content).unwrap()))),
        floor: floor_encrypt(size),
    }
}

pub(crate) fn decrypt(size: usize) -> Case {
    let (mut olm_alice, mut olm_bob) = olm_established();
    Case {
        name: format!("decrypt_{size}"),
        batch: batch_of(size),
        ours: in_order(established(), size),
        vodozemac: Some(Contender::new(move |count| {
            let messages: Vec<_> = (0..count).map(|_| olm_alice.encrypt(content(size)).unwrap()).collect();
            timed_each(&messages, |message| olm_bob.decrypt(message).unwrap())
        })),
        floor: floor_decrypt(size),
    }
}

/// Decrypts what the first session encrypts.
pub(crate) fn in_order((mut alice, mut bob): (Session, Session), size: usize) -> Contender {
    Contender::new(move |count| {
        let messages = messages(&mut alice, content(size), count);
        timed_each(&messages, |message| bob.decrypt(message).unwrap())
    })
}

pub(crate) fn floor_encrypt(size: usize) -> Contender {
    let (mut chains, mut message) = (floor::Chains::default(), floor::Message::of_len(message_len(size)));
    Contender::new(move |count| timed(count, || chains.seal(&mut message)))
}

pub(crate) fn floor_decrypt(size: usize) -> Contender {
    let message_len = message_len(size);
    let (mut sender, mut receiver) = (floor::Chains::default(), floor::Chains::default());
    Contender::new(move |count| {
        let mut messages: Vec<_> = (0..count).map(|_| floor::Message::of_len(message_len)).collect();
        messages.iter_mut().for_each(|message| sender.seal(message));
        timed_each(&mut messages, |message| receiver.open(message))
    })
}

/// Length of an established session's message with content of this size.
pub(crate) fn message_len(size: usize) -> usize {
    let (mut alice, _) = established();
    alice.encrypt(content(size)).unwrap().len()
}

/// How many messages of this size make a batch: about a millisecond of ours, so that some go undisturbed.
pub(crate) fn batch_of(size: usize) -> usize {
    160 * 1024 / (size + 1024)
}

/// A responder with one one-time key, whose account can be restored after every handshake.
pub(crate) struct OlmResponder {
    identity_key: Curve25519PublicKey,
    one_time_key: Curve25519PublicKey,
    account: String,
}

/// The key that the account is stored under.
const OLM_STORAGE_KEY: [u8; 32] = [0; 32];

impl OlmResponder {
    pub(crate) fn new() -> Self {
        let mut account = Account::new();
        account.generate_one_time_keys(1);
        Self {
            identity_key: account.curve25519_key(),
            one_time_key: account.one_time_keys().into_values().next().unwrap(),
            account: account.pickle().encrypt(&OLM_STORAGE_KEY),
        }
    }

    /// The account as it was before any handshake.
    pub(crate) fn account(&self) -> Account {
        Account::from_pickle(AccountPickle::from_encrypted(&self.account, &OLM_STORAGE_KEY).unwrap())
    }

    /// What an initiator does: starts a session, encrypts the first message.
    pub(crate) fn initiate(&self, initiator: &Account) -> (OlmSession, PreKeyMessage) {
        let mut session = initiator
            .create_outbound_session(SessionConfig::version_2(), self.identity_key, self.one_time_key)
            .unwrap();
        match session.encrypt(content(256)).unwrap() {
            OlmMessage::PreKey(message) => (session, message),
            OlmMessage::Normal(_) => panic!("the first message starts the session"),
        }
    }
}

pub(crate) fn olm_accept(
    responder: &mut Account,
    initiator: Curve25519PublicKey,
    message: &PreKeyMessage,
) -> InboundCreationResult {
    responder.create_inbound_session(SessionConfig::version_2(), initiator, message).unwrap()
}

/// The same as [`established`].
pub(crate) fn olm_established() -> (OlmSession, OlmSession) {
    let (account, responder) = (Account::new(), OlmResponder::new());
    let (mut alice, initial) = responder.initiate(&account);
    let mut bob = olm_accept(&mut responder.account(), account.curve25519_key(), &initial).session;
    let answer = bob.encrypt(content(256)).unwrap();
    alice.decrypt(&answer).unwrap();
    let message = alice.encrypt(content(256)).unwrap();
    bob.decrypt(&message).unwrap();
    (alice, bob)
}

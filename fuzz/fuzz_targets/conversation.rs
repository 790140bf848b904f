//! A script over two peers and a network that loses, repeats, reorders and alters: every genuine message is
//! decrypted once or reported, nothing else is decrypted, and afterwards the two can still talk.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use chacha20::ChaCha20Rng;
use libfuzzer_sys::fuzz_target;
use subrosa::{Error, Padding, PreKeys, Session};
use subrosa_fuzz::{Edit, FIXTURE, rng};

#[derive(Arbitrary, Debug)]
enum Step {
    /// Encrypts so many bytes, and puts the message into the peer's inbox.
    Send {
        from: Side,
        len: u16,
    },
    /// Encrypts so many messages, which are lost.
    Lose {
        from: Side,
        count: u16,
    },
    /// The `index`-th message of an inbox arrives.
    Deliver {
        to: Side,
        index: u8,
    },
    /// It arrives and stays in the inbox.
    Repeat {
        to: Side,
        index: u8,
    },
    Drop {
        to: Side,
        index: u8,
    },
    Swap {
        to: Side,
        indices: [u8; 2],
    },
    /// An altered copy of it arrives.
    Corrupt {
        to: Side,
        index: u8,
        edit: Edit,
    },
    /// The process ends, and starts anew from what it has stored.
    Restart {
        side: Side,
        halves: bool,
    },
    Pad {
        side: Side,
        padding: bool,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Side {
    Alice,
    Bob,
}

/// Below the number of messages that a receiver skips over at once: nobody needs a new handshake.
const MAX_LOST: u32 = 2_600;
/// So many of a direction may be missing at the same time and all of their keys are kept.
const KEPT_KEYS: u32 = 2_000;
/// So many chains may have ended with messages missing and all of their header keys are kept.
const KEPT_CHAINS: u32 = 40;

fuzz_target!(|script: Vec<Step>| {
    let mut world = World::new();
    for step in script {
        world.step(step);
        world.save();
    }
    world.finish();
});

struct World {
    rng: ChaCha20Rng,
    alice: Peer,
    bob: Peer,
}

struct Peer {
    side: Side,
    /// Bob's begins with the first message that reaches him.
    session: Option<Session>,
    prekeys: PreKeys,
    /// The cold half, stored only when its generation changes.
    stored_cold: (u64, Vec<u8>),
    /// What the network has for this peer.
    inbox: VecDeque<Vec<u8>>,
    /// What the other one has put into it.
    expected: Vec<Expected>,
    /// How many messages the other one has encrypted, and how many were lost at once.
    encrypted: u32,
    lost: u32,
    /// How many have been decrypted here: at least as many as turns were taken.
    decrypted: u32,
}

/// A genuine message.
struct Expected {
    bytes: Vec<u8>,
    content: Vec<u8>,
    /// How many messages had been encrypted before it, and how many of them decrypted.
    number: u32,
    decrypted_before: u32,
    arrived: bool,
}

impl World {
    fn new() -> Self {
        let mut rng = rng(8);
        let session = Session::open_with_rng(&FIXTURE.key, &FIXTURE.beginning, &mut rng);
        let mut alice = Peer::new(Side::Alice, session.ok());
        alice.save();
        Self { rng, alice, bob: Peer::new(Side::Bob, None) }
    }

    fn pair(&mut self, side: Side) -> (&mut Peer, &mut Peer, &mut ChaCha20Rng) {
        match side {
            Side::Alice => (&mut self.alice, &mut self.bob, &mut self.rng),
            Side::Bob => (&mut self.bob, &mut self.alice, &mut self.rng),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { from, len } => self.send(from, len.into()),
            Step::Lose { from, count } => self.lose(from, count.into()),
            Step::Deliver { to, index } => {
                let (peer, ..) = self.pair(to);
                if let Some(bytes) = peer.place(index).and_then(|place| peer.inbox.remove(place)) {
                    self.deliver(to, &bytes);
                }
            }
            Step::Repeat { to, index } => {
                let (peer, ..) = self.pair(to);
                if let Some(bytes) = peer.place(index).map(|place| peer.inbox[place].clone()) {
                    self.deliver(to, &bytes);
                }
            }
            Step::Drop { to, index } => {
                let (peer, ..) = self.pair(to);
                peer.place(index).and_then(|place| peer.inbox.remove(place));
            }
            Step::Swap { to, indices: [one, other] } => {
                let (peer, ..) = self.pair(to);
                if let (Some(one), Some(other)) = (peer.place(one), peer.place(other)) {
                    peer.inbox.swap(one, other);
                }
            }
            Step::Corrupt { to, index, edit } => {
                let (peer, ..) = self.pair(to);
                if let Some(place) = peer.place(index) {
                    let genuine: Vec<_> = peer.inbox.iter().map(|bytes| &bytes[..]).collect();
                    let mut bytes = peer.inbox[place].clone();
                    edit.apply(&mut bytes, &genuine);
                    self.deliver(to, &bytes);
                }
            }
            Step::Restart { side, halves } => {
                let (peer, _, rng) = self.pair(side);
                peer.restart(halves, rng);
            }
            Step::Pad { side, padding } => {
                let (peer, ..) = self.pair(side);
                if let Some(session) = &mut peer.session {
                    session.set_padding(if padding { Padding::Buckets } else { Padding::None });
                }
            }
        }
    }

    fn send(&mut self, from: Side, len: usize) {
        let (peer, other, rng) = self.pair(from);
        let Some(session) = &mut peer.session else { return };
        let content = vec![other.encrypted as u8; len];
        let bytes = session.encrypt_with_rng(&content, rng).expect("room for many more");
        let (number, decrypted_before) = (other.encrypted, other.decrypted);
        other.encrypted += 1;
        other.inbox.push_back(bytes.clone());
        other.expected.push(Expected { bytes, content, number, decrypted_before, arrived: false });
    }

    fn lose(&mut self, from: Side, count: u32) {
        let (peer, other, rng) = self.pair(from);
        let Some(session) = &mut peer.session else { return };
        let count = count.min(MAX_LOST - other.lost);
        for _ in 0..count {
            session.encrypt_with_rng(b"lost", rng).expect("room for many more");
        }
        other.encrypted += count;
        other.lost += count;
    }

    fn deliver(&mut self, to: Side, bytes: &[u8]) {
        let (peer, _, rng) = self.pair(to);
        let before = peer.state();
        let result = peer.receive(bytes, rng);
        if result.is_err() {
            assert!(peer.state() == before, "{result:?} has changed something");
        }
        let (encrypted, decrypted) = (peer.encrypted, peer.decrypted);
        let expected = peer.expected.iter_mut().find(|expected| expected.bytes == bytes);
        // Whether too little has happened since for the key of the message to have been discarded.
        let recent = expected.as_ref().is_some_and(|expected| {
            encrypted - expected.number <= KEPT_KEYS && decrypted - expected.decrypted_before <= KEPT_CHAINS
        });
        match (expected, result) {
            (Some(expected), Ok(content)) => {
                assert!(!expected.arrived, "decrypted twice");
                assert!(content == expected.content);
                expected.arrived = true;
                peer.decrypted += 1;
            }
            (Some(Expected { arrived: true, .. }), Err(Error::Duplicate | Error::UnknownSession)) => {}
            (Some(_), Err(Error::TooOld | Error::UnknownSession)) if !recent => {}
            (Some(_), Err(error)) => panic!("{error:?} for a genuine message"),
            (None, Ok(_)) => panic!("a message that nobody sent was decrypted"),
            (None, Err(_)) => {}
        }
    }

    fn save(&mut self) {
        self.alice.save();
        self.bob.save();
    }

    /// What is under way arrives, and then each peer reads what the other one writes.
    fn finish(mut self) {
        for to in [Side::Bob, Side::Alice] {
            while let Some(bytes) = self.pair(to).0.inbox.pop_back() {
                self.deliver(to, &bytes);
            }
        }
        for from in [Side::Alice, Side::Bob, Side::Alice, Side::Bob] {
            let (_, other, _) = self.pair(from);
            let (to, before) = (other.side, other.decrypted);
            self.send(from, 100);
            self.step(Step::Deliver { to, index: 0 });
            assert_eq!(self.pair(to).0.decrypted, before + 1, "{to:?} cannot read any more");
        }
    }
}

impl Peer {
    fn new(side: Side, session: Option<Session>) -> Self {
        Self {
            side,
            session,
            prekeys: PreKeys::open(&FIXTURE.key, &FIXTURE.prekeys).expect("sealed under this key"),
            stored_cold: (u64::MAX, Vec::new()),
            inbox: VecDeque::new(),
            expected: Vec::new(),
            encrypted: 0,
            lost: 0,
            decrypted: 0,
        }
    }

    /// The `index`-th message of the inbox, counted around.
    fn place(&self, index: u8) -> Option<usize> {
        usize::from(index).checked_rem(self.inbox.len())
    }

    fn receive(&mut self, bytes: &[u8], rng: &mut ChaCha20Rng) -> Result<Vec<u8>, Error> {
        match &mut self.session {
            Some(session) => session.decrypt(bytes),
            None => {
                let accepted = Session::accept_with_rng(&FIXTURE.bob, &mut self.prekeys, bytes, rng)?;
                assert_eq!(accepted.session.peer_identity(), FIXTURE.alice.identity_key());
                self.session = Some(accepted.session);
                Ok(accepted.content)
            }
        }
    }

    /// Everything that a failed call must leave alone.
    fn state(&self) -> (Option<Vec<u8>>, Vec<u8>) {
        let session = self.session.as_ref().map(|session| session.seal(&FIXTURE.key));
        (session, self.prekeys.seal(&FIXTURE.key))
    }

    fn save(&mut self) {
        if let Some(session) = &self.session
            && session.cold_generation() != self.stored_cold.0
        {
            self.stored_cold = (session.cold_generation(), session.seal_cold(&FIXTURE.key));
        }
    }

    fn restart(&mut self, halves: bool, rng: &mut ChaCha20Rng) {
        let Some(session) = self.session.take() else { return };
        let (key, whole) = (&FIXTURE.key, session.seal(&FIXTURE.key));
        let opened = if halves {
            Session::open_halves_with_rng(key, &session.seal_hot(key), &self.stored_cold.1, rng)
        } else {
            Session::open_with_rng(key, &whole, rng)
        };
        let opened = opened.expect("just sealed");
        assert!(opened.seal(key) == whole, "a restart has changed something");
        self.session = Some(opened);
    }
}

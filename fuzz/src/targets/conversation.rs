//! A script over two peers and a network that loses, repeats, reorders and alters: every genuine message is
//! decrypted once or reported, nothing else is decrypted, no key is used twice, not even by who is put back to an earlier
//! state, and afterwards the two can still talk.

use std::collections::{HashSet, VecDeque};

use arbitrary::Arbitrary;
use chacha20::ChaCha20Rng;
use subrosa::{Error, Padding, PreKeys, Session};

use super::super::{Edit, FIXTURE, NOW, rng};

#[derive(Arbitrary, Debug)]
pub enum Step {
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
    /// Keeps what is stored.
    Snapshot {
        side: Side,
    },
    /// Puts it back: what happened since is forgotten. (From the beginning, if nothing was kept.)
    RollBack {
        side: Side,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Alice,
    Bob,
}

/// Steps of a script beyond these do nothing new, and cost time.
const MAX_STEPS: usize = 256;
/// Below the number of messages that a receiver skips over at once: nobody needs a new handshake.
const MAX_LOST: u32 = 2_600;
/// So many of a direction may be missing at the same time and all of their keys are kept.
const KEPT_KEYS: u32 = 2_000;
/// So many chains may have ended with messages missing and all of their header keys are kept.
const KEPT_CHAINS: u32 = 40;

pub fn conversation(script: Vec<Step>) {
    let mut world = World::new();
    for step in script.into_iter().take(MAX_STEPS) {
        world.step(step);
        world.save();
    }
    world.finish();
}

struct World {
    rng: ChaCha20Rng,
    alice: Peer,
    bob: Peer,
    /// Whether anybody was put back, after which they may not understand each other.
    rolled_back: bool,
    /// The last 24 bytes of every message, of which the nonce of its header is made.
    nonces: HashSet<Vec<u8>>,
}

struct Peer {
    side: Side,
    /// Bob's begins with the first message that reaches him.
    session: Option<Session>,
    prekeys: PreKeys,
    /// The cold half, stored only when its generation changes.
    stored_cold: (u64, Vec<u8>),
    /// What was kept, and whether it was put back.
    snapshot: State,
    rolled_back: bool,
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

/// The sealed session, if there is one, and the sealed prekeys.
type State = (Option<Vec<u8>>, Vec<u8>);

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
        let bob = Peer::new(Side::Bob, None);
        Self { rng, alice, bob, rolled_back: false, nonces: HashSet::new() }
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
            Step::Snapshot { side } => {
                let (peer, ..) = self.pair(side);
                peer.snapshot = peer.state();
            }
            Step::RollBack { side } => {
                let (peer, _, rng) = self.pair(side);
                peer.roll_back(rng);
                self.rolled_back = true;
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
        let nonce = bytes[bytes.len() - 24..].to_vec();
        other.expected.push(Expected { bytes, content, number, decrypted_before, arrived: false });
        assert!(self.nonces.insert(nonce), "the nonce of a header repeats");
    }

    fn lose(&mut self, from: Side, count: u32) {
        let (peer, other, rng) = self.pair(from);
        let Some(session) = &mut peer.session else { return };
        let count = count.min(MAX_LOST - other.lost);
        let lost: Vec<_> =
            (0..count).map(|_| session.encrypt_with_rng(b"lost", rng).expect("room for many more")).collect();
        other.encrypted += count;
        other.lost += count;
        for bytes in lost {
            let nonce = bytes[bytes.len() - 24..].to_vec();
            assert!(self.nonces.insert(nonce), "the nonce of a header repeats");
        }
    }

    fn deliver(&mut self, to: Side, bytes: &[u8]) {
        let any_rolled_back = self.rolled_back;
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
                assert!(!expected.arrived || peer.rolled_back, "decrypted twice");
                assert!(content == expected.content);
                expected.arrived = true;
                peer.decrypted += 1;
            }
            (Some(Expected { arrived: true, .. }), Err(Error::Duplicate | Error::UnknownSession)) => {}
            (Some(_), Err(Error::TooOld | Error::UnknownSession)) if !recent => {}
            (Some(_), Err(_)) if any_rolled_back => {}
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
        if self.rolled_back {
            self.begin_anew();
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

impl World {
    /// Alice begins a new session, as an app does whose peer was put back.
    fn begin_anew(&mut self) {
        let [_, last_resort] = &FIXTURE.bundles;
        let bundle = last_resort.clone().verify(NOW).expect("genuine");
        let session = Session::initiate_with_rng(&FIXTURE.alice, bundle, b"", &mut self.rng);
        self.alice.session = session.ok();
        self.bob.session = None;
        self.send(Side::Alice, 1);
        let (before, bytes) = (self.bob.decrypted, self.bob.inbox.pop_back().unwrap_or_default());
        self.deliver(Side::Bob, &bytes);
        assert_eq!(self.bob.decrypted, before + 1, "a new session does not begin");
    }
}

impl Peer {
    fn new(side: Side, session: Option<Session>) -> Self {
        let sealed = session.as_ref().map(|session| session.seal(&FIXTURE.key));
        Self {
            side,
            session,
            prekeys: open_prekeys(&FIXTURE.prekeys),
            stored_cold: (u64::MAX, Vec::new()),
            snapshot: (sealed, FIXTURE.prekeys.clone()),
            rolled_back: false,
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
    fn state(&self) -> State {
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

    fn roll_back(&mut self, rng: &mut ChaCha20Rng) {
        let (session, prekeys) = &self.snapshot;
        self.session = session
            .as_ref()
            .map(|sealed| Session::open_with_rng(&FIXTURE.key, sealed, rng).expect("sealed under this key"));
        self.prekeys = open_prekeys(prekeys);
        self.stored_cold = (u64::MAX, Vec::new());
        self.rolled_back = true;
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

fn open_prekeys(sealed: &[u8]) -> PreKeys {
    PreKeys::open(&FIXTURE.key, sealed).expect("sealed under this key")
}

//! A script for a peer that holds its own keys and keeps to no rule: counters, keys and codewords as it likes, sealed as
//! they should be. What it sends is refused and has changed nothing, or is read as it was written; and no codewords, and no
//! refusal, keep what it sends honestly from being read.

mod handshake;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use sha3::{Digest, Sha3_256};
use subrosa::{Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session};

use super::super::{
    FIXTURE, NOW,
    reference::{
        encoding::{Codewords, Header, Padding, Value, read_body, write_body},
        erasure::Stream,
        notes,
        prekeys::{Bundle, Prekeys},
        primitives::{Key, Tape, cat},
        session::Session as Peer,
        tape,
    },
    rng, users,
};

#[derive(Arbitrary, Debug)]
pub enum Hostility<'a> {
    /// In a session that the victim has begun, or accepted.
    Session { victim_begins: bool, steps: Vec<Step<'a>> },
    /// A first message, made by hand.
    First { ephemeral: Option<Weak>, claim: Claim, payload: u16, counters: [u8; 3] },
    /// A bundle, signed as it should be.
    Bundle { keys: [Option<Weak>; 2], kem: [Option<(u16, u8)>; 2], not_after: u64, one_time: bool },
}

/// A key that there should not be: of small order, not canonical, or any bytes.
#[derive(Arbitrary, Debug)]
pub enum Weak {
    Listed(u8),
    Bytes(Key),
}

/// Who the sender of a first message says that it is.
#[derive(Arbitrary, Debug)]
pub enum Claim {
    Itself,
    /// With another X25519 half, which it has bound to its Ed25519 half.
    Half(Weak),
    /// The victim, with the victim's binding or its own.
    Victim {
        binding: bool,
    },
}

#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    /// Both write in turn, as the protocol says.
    Talk {
        turns: u8,
    },
    Say(Say<'a>),
    /// A message that was kept back arrives.
    Late {
        index: u8,
    },
    /// The victim writes.
    Answer {
        len: u8,
    },
    /// The victim's app is started again.
    Restart,
    /// The peer remembers its state,
    Remember,
    /// and goes back to it.
    Return,
    Unpadded {
        whether: bool,
    },
    /// Both write in turn, and the peer's KEM key has a header that is good and a vector that is not valid.
    Pretend {
        turns: u8,
        fill: u8,
    },
}

#[derive(Arbitrary, Debug)]
pub struct Say<'a> {
    /// So many messages before it are kept back.
    late: u8,
    /// So many numbers before it are never used.
    unused: Option<u16>,
    header: Option<Field>,
    words: Option<Words>,
    incarnation: Option<u32>,
    body: Option<&'a [u8]>,
}

/// A field of the header that is not what it should be.
#[derive(Arbitrary, Debug)]
pub enum Field {
    RatchetKey(Weak),
    PreviousLength(u32),
    Number(u32),
    PqEpoch(u32),
    PqNumber(u32),
}

/// Codewords that are not what they should be.
#[derive(Arbitrary, Debug)]
pub enum Words {
    None,
    Garbage {
        value: Type,
        count: u8,
        index: u16,
        fill: u8,
    },
    /// One byte of each.
    Flipped {
        at: u8,
        mask: u8,
    },
    Renumbered {
        by: u16,
    },
    Retyped {
        value: Type,
    },
    /// Of a KEM key whose header is good and whose vector is not valid.
    InvalidKey {
        fill: u8,
    },
}

#[derive(Arbitrary, Debug)]
pub enum Type {
    Header,
    Vector,
    VectorAck,
    Ct1,
    Ct2,
}

/// So many steps, and no more turns in one of them, or it takes too long.
const MAX_STEPS: usize = 48;
const MAX_TURNS: u8 = 24;
/// More than a receiver steps over.
const MAX_UNUSED: u32 = 26_000;
/// Of a session that is answered, whatever the peer does.
const MAX_HOT: usize = 2_400;
const MAX_COLD: usize = 179 * 1024;

pub fn hostile(hostility: Hostility<'_>) {
    match hostility {
        Hostility::Session { victim_begins, steps } => {
            let mut world = World::new(victim_begins);
            steps.into_iter().take(MAX_STEPS).for_each(|step| world.step(step));
            world.finish();
        }
        Hostility::First { ephemeral, claim, payload, counters } => {
            handshake::first(ephemeral, &claim, payload, counters)
        }
        Hostility::Bundle { keys, kem, not_after, one_time } => {
            handshake::bundle(keys, kem, not_after, one_time)
        }
    }
    notes::count(&mut Default::default());
}

impl Weak {
    fn bytes(&self) -> Key {
        const LISTED: [&str; 9] = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0900000000000000000000000000000000000000000000000000000000000080",
        ];
        match self {
            Self::Bytes(key) => *key,
            Self::Listed(index) => {
                let text = LISTED[usize::from(*index) % LISTED.len()];
                std::array::from_fn(|at| {
                    u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal")
                })
            }
        }
    }
}

impl Type {
    fn value(&self) -> Value {
        match self {
            Self::Header => Value::Header,
            Self::Vector => Value::Vector,
            Self::VectorAck => Value::VectorAck,
            Self::Ct1 => Value::Ct1,
            Self::Ct2 => Value::Ct2,
        }
    }
}

/// The victim's sealed session, and its peer, before the first turn: begun by the peer, and by the victim.
static BEGINNINGS: LazyLock<[(Vec<u8>, Peer); 2]> = LazyLock::new(|| {
    let (mallory, tape, rng) = (users::identity(9), &mut tape(500), &mut rng(30));
    let mut peer = Peer::initiate(&mallory, &VICTIM.bundle, b"", tape).expect("a good bundle");
    let mut prekeys = PreKeys::open(&FIXTURE.key, &VICTIM.prekeys).expect("sealed under this key");
    // Without codewords: they can still be of any key.
    let mut draft = peer.draft(b"first", tape).expect("room");
    draft.body = write_body(b"first", &None, peer.padding);
    let first = draft.seal();
    let accepted = Session::accept_with_rng(&VICTIM.identity, &mut prekeys, &first, rng).expect("honest");
    let accepted = (accepted.session.seal(&FIXTURE.key), peer);

    let mut prekeys = Prekeys::generate(&mallory, 1, NOW.as_secs(), tape);
    let bundle = PreKeyBundle::from_bytes(&prekeys.bundle().to_bytes()).and_then(|bundle| bundle.verify(NOW));
    let bundle = bundle.expect("honest");
    let mut session = Session::initiate_with_rng(&VICTIM.identity, bundle, b"", rng).expect("a good bundle");
    let first = session.encrypt_with_rng(b"first", rng).expect("room");
    let peer = Peer::accept(&mallory, &mut prekeys, &first, tape).map(|accepted| accepted.session);
    [accepted, (session.seal(&FIXTURE.key), peer.expect("honest"))]
});

struct Victim {
    identity: IdentityKeyPair,
    prekeys: Vec<u8>,
    /// With a one-time prekey.
    bundle: Bundle,
}

static VICTIM: LazyLock<Victim> = LazyLock::new(|| {
    let rng = &mut rng(31);
    let identity = IdentityKeyPair::generate_with_rng(rng);
    let mut prekeys = PreKeys::generate_with_rng(&identity, 1, NOW, rng);
    let bundle = Bundle::read(&prekeys.bundle().to_bytes()).expect("honest");
    Victim { identity, prekeys: prekeys.seal(&FIXTURE.key), bundle }
});

struct World {
    victim: Session,
    peer: Peer,
    tape: Tape,
    rng: chacha20::ChaCha20Rng,
    remembered: Option<Peer>,
    /// Messages that were kept back.
    late: Vec<Vec<u8>>,
    /// Whether the peer has used every number once, so that what it sends honestly has to be read.
    in_step: bool,
    /// Whether it has also sent the codewords that it should, so that it can read what the victim sends.
    honest: bool,
    /// Codewords of an invalid key so far.
    invalid: u16,
    /// Whether the peer makes the first key pair, and nothing was sent so far.
    first: bool,
}

impl World {
    fn new(victim_begins: bool) -> Self {
        let (sealed, peer) = &BEGINNINGS[usize::from(victim_begins)];
        let mut rng = rng(32);
        Self {
            victim: Session::open_with_rng(&FIXTURE.key, sealed, &mut rng).expect("sealed under this key"),
            peer: peer.clone(),
            tape: tape(600),
            rng,
            remembered: None,
            late: Vec::new(),
            in_step: true,
            honest: true,
            invalid: 0,
            first: !victim_begins,
        }
    }

    fn step(&mut self, step: Step<'_>) {
        self.first &= matches!(step, Step::Pretend { .. });
        match step {
            Step::Talk { turns } => {
                for _ in 0..turns % MAX_TURNS {
                    self.say(&Say::honest());
                    self.answer(20);
                }
            }
            Step::Pretend { turns, fill } => self.pretend(turns % MAX_TURNS, fill),
            Step::Say(say) => self.say(&say),
            Step::Late { index } => {
                if let Some(place) = usize::from(index).checked_rem(self.late.len()) {
                    let message = self.late.remove(place);
                    if let Ok(content) = self.receive(&message) {
                        assert_eq!(content, b"late");
                    }
                }
            }
            Step::Answer { len } => self.answer(len.into()),
            Step::Restart => self.restart(),
            Step::Remember => self.remembered = Some(self.peer.clone()),
            Step::Return => {
                if let Some(peer) = self.remembered.take() {
                    self.peer = peer;
                    (self.in_step, self.honest) = (false, false);
                }
            }
            Step::Unpadded { whether } => {
                self.peer.padding = if whether { Padding::None } else { Padding::Buckets };
            }
        }
    }

    fn pretend(&mut self, turns: u8, fill: u8) {
        let first = std::mem::take(&mut self.first) && turns > 12;
        for _ in 0..turns {
            self.say(&Say { words: Some(Words::InvalidKey { fill }), ..Say::honest() });
            self.answer(20);
        }
        // From the beginning, and long enough for the whole vector.
        assert!(!first || self.victim.needs_rehandshake(), "a key was used that is not valid");
    }

    /// What is refused has changed nothing.
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let before = self.victim.seal(&FIXTURE.key);
        let result = self.victim.decrypt(message);
        if result.is_err() {
            assert!(self.victim.seal(&FIXTURE.key) == before, "{result:?} has changed something");
        } else if self.victim.is_confirmed() {
            let len = self.victim.seal_hot(&FIXTURE.key).len();
            assert!(len <= MAX_HOT, "{len} bytes");
        }
        result
    }

    fn say(&mut self, say: &Say<'_>) {
        let content = b"what the peer says";
        // Taken back if it is refused: what comes then has the same numbers.
        let (mut peer, mut late) = (self.peer.clone(), Vec::new());
        let tape = &mut self.tape;
        for _ in 0..say.late % 8 {
            late.push(peer.encrypt(b"late", tape).expect("room for more"));
        }
        let unused = u32::from(say.unused.unwrap_or_default()) % MAX_UNUSED;
        if unused > 0 {
            // The turn is made by the first of them.
            late.push(peer.encrypt(b"late", tape).expect("room for more"));
            let sending = peer.ec.sending.as_mut().expect("it has sent");
            sending.chain.run(sending.chain.position + unused, 0);
            peer.pq.sending.run(peer.pq.sending.position + unused, 0);
        }
        let mut draft = peer.draft(content, tape).expect("room for more");
        let mut header = draft.header.to_bytes();
        if let Some(incarnation) = say.incarnation {
            draft.header.incarnation = incarnation;
            header = draft.header.to_bytes();
        }
        let mut codewords_altered = false;
        if let Some(words) = &say.words {
            let (_, codewords) = read_body(&draft.body).expect("an honest body");
            let altered = self.alter(words, codewords, &peer);
            draft.body = write_body(content, &altered, peer.padding);
            codewords_altered = true;
        }
        if let Some(body) = say.body {
            draft.body = cat(&[body, &[0; 16][body.len().min(16)..]]);
            codewords_altered = true;
        }
        let expected = read_body(&draft.body).map(|(content, _)| content);
        let harmless = match &say.header {
            None => true,
            Some(Field::PreviousLength(pn)) => {
                draft.header.pn = *pn;
                true
            }
            Some(field) => {
                field.put(&mut draft.header);
                draft.header.to_bytes() == header
            }
        };
        let far = unused as usize + late.len() > 25_000;
        match self.receive(&draft.seal()) {
            Ok(read) => {
                assert_eq!(Ok(read), expected, "read otherwise than written");
                assert!(harmless, "{:?} was read", say.header);
                assert!(!far, "so many numbers were stepped over");
                self.peer = peer;
                self.late.extend(late);
                self.late.truncate(64);
                self.honest &= !codewords_altered;
            }
            Err(error) => {
                let refused = expected.as_ref().err().map(|error| format!("{error:?}"));
                let excused = !self.in_step || !harmless || far || refused == Some(format!("{error:?}"));
                assert!(excused, "{error:?} for {say:?}");
            }
        }
    }

    fn alter(&mut self, words: &Words, honest: Codewords, peer: &Peer) -> Codewords {
        match words {
            Words::None => None,
            Words::Garbage { value, count, index, fill } => {
                let words = (0..u16::from(count % 31) + 1).map(|at| (index.wrapping_add(at), [*fill; 32]));
                Some((value.value(), words.collect()))
            }
            Words::Flipped { at, mask } => honest.map(|(value, mut words)| {
                words.iter_mut().for_each(|(_, chunk)| chunk[usize::from(at % 32)] ^= mask);
                (value, words)
            }),
            Words::Renumbered { by } => honest.map(|(value, mut words)| {
                words.iter_mut().for_each(|(index, _)| *index = index.wrapping_add(*by));
                (value, words)
            }),
            Words::Retyped { value } => honest.map(|(_, words)| (value.value(), words)),
            Words::InvalidKey { fill } => honest.map(|(value, words)| {
                // All coefficients are 0xfff, or as the byte makes them.
                let vector = [*fill | 0xf0; 1_152];
                let header = cat(&[&[3; 32], &Sha3_256::digest(cat(&[&vector, &[3; 32]]))]);
                let of = match value {
                    Value::Header => cat(&[&header, &peer.pq.braid.mac_hdr(&header)]),
                    Value::Vector | Value::VectorAck => vector.to_vec(),
                    Value::Ct1 | Value::Ct2 => return (value, words),
                };
                let mut stream = Stream::new(&of);
                stream.next = self.invalid % (of.len() / 32) as u16;
                self.invalid += words.len() as u16;
                (value, stream.take(words.len()))
            }),
        }
    }

    fn answer(&mut self, len: usize) {
        let content = vec![0x5a; len];
        let message = self.victim.encrypt_with_rng(&content, &mut self.rng).expect("room for more");
        match self.peer.decrypt(&message) {
            Ok(read) => assert!(read == content),
            Err(error) => assert!(!self.honest, "an honest peer cannot read: {error:?}"),
        }
    }

    fn restart(&mut self) {
        let sealed = self.victim.seal(&FIXTURE.key);
        self.victim = Session::open_with_rng(&FIXTURE.key, &sealed, &mut self.rng).expect("just sealed");
        assert!(self.victim.seal(&FIXTURE.key) == sealed, "a restart has changed something");
    }

    fn finish(mut self) {
        self.say(&Say::honest());
        self.answer(0);
        self.say(&Say::honest());
        self.restart();
        let len = self.victim.seal_cold(&FIXTURE.key).len();
        assert!(len <= MAX_COLD, "{len} bytes");
        assert!(!self.honest || !self.victim.needs_rehandshake(), "of an honest peer");
    }
}

impl Say<'_> {
    fn honest() -> Self {
        Say { late: 0, unused: None, header: None, words: None, incarnation: None, body: None }
    }
}

impl Field {
    fn put(&self, header: &mut Header) {
        match self {
            Self::RatchetKey(key) => header.ratchet_key = key.bytes(),
            Self::PreviousLength(pn) => header.pn = *pn,
            Self::Number(n) => header.n = *n,
            Self::PqEpoch(epoch) => header.pq_epoch = *epoch,
            Self::PqNumber(n) => header.pq_n = *n,
        }
    }
}

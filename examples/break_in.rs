//! Bob's phone is copied. What does the thief, who also taps the line, read from then on, and for how long?
//!
//! `cargo run --example break_in`
//!
//! Nothing here is told: each line is an attempt to decrypt the real message with what the thief has. There are two
//! of them. One has the copy. The other has, in addition, broken X25519 (say, by a quantum computer), so that every
//! ratchet key on the line gives him its private half; ML-KEM withstands him.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "an example that shows its results, of two sides"
)]

use std::{collections::VecDeque, convert::Infallible};

use rand::{TryCryptoRng, TryRng, rngs::SysRng};
use subrosa::{Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};

const ALICE: usize = 0;
const BOB: usize = 1;
const NAMES: [&str; 2] = ["Alice", "Bob"];

/// Who writes how many messages in a row, over and over.
const TURNS: [(usize, usize); 4] = [(ALICE, 2), (BOB, 3), (ALICE, 1), (BOB, 1)];

/// The theft comes after this message: Bob has begun to write, Alice has read it, he is not done. So his phone holds
/// a private ratchet key that is waiting for her answer: the worst moment.
const THEFT: usize = 10;

/// How long to watch each thief fail before believing it.
const WATCH: usize = 12;

/// In case nobody is ever locked out.
const MOST: usize = 200;

type Draw = [u8; 32];

/// A person in the conversation, or a copy.
struct Side {
    session: Session,
    /// Whether the next message makes a new ratchet key: it is the first since one was received.
    turn: bool,
}

/// Gives the draws that it was made with, and counts.
struct Draws {
    given: VecDeque<Draw>,
    taken: usize,
}

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.taken += 1;
        bytes.copy_from_slice(&self.given.pop_front().unwrap_or_default());
        Ok(())
    }
}

impl TryCryptoRng for Draws {}

impl Side {
    fn new(session: Session, turn: bool) -> Self {
        Self { session, turn }
    }

    /// What the documentation warns of, and a thief does: the same stored state, opened twice.
    fn copy(&self) -> Result<Self, Error> {
        let key = StorageKey::generate();
        Ok(Self::new(Session::open(&key, &self.session.seal(&key))?, self.turn))
    }

    /// Encrypts with one draw of randomness for ML-KEM and one for X25519. A message asks for the first if it
    /// begins something in the post-quantum ratchet, then for the second if it makes a new ratchet key; which
    /// ones it will ask for, a rehearsal tells.
    fn encrypt(&mut self, text: &str, for_kem: Draw, for_x25519: Draw) -> Result<Vec<u8>, Error> {
        let mut rehearsal = Draws { given: VecDeque::new(), taken: 0 };
        self.copy()?.session.encrypt_with_rng(text.as_bytes(), &mut rehearsal)?;
        let kem = rehearsal.taken > usize::from(self.turn);
        let given = kem.then_some(for_kem).into_iter().chain(self.turn.then_some(for_x25519)).collect();
        self.turn = false;
        self.session.encrypt_with_rng(text.as_bytes(), &mut Draws { given, taken: 0 })
    }

    fn decrypt(&mut self, message: &[u8]) -> Result<String, Error> {
        let text = self.session.decrypt(message)?;
        self.turn = true;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Sends one text from one of two sides to the other.
fn send(sides: &mut [Side; 2], from: usize, text: &str, kem: Draw, x25519: Draw) -> Result<Vec<u8>, Error> {
    let message = sides[from].encrypt(text, kem, x25519)?;
    assert_eq!(sides[1 - from].decrypt(&message)?, text);
    Ok(message)
}

/// With the copy alone. (Its keys also open the headers of one more chain in each direction, but no text.)
struct Classical {
    /// Bob's phone: reads what is sent to Bob, as long as the copied keys are good for it.
    bob: Side,
    /// The copy also has the keys that Bob is sending under. The library does not turn a sender's keys into a
    /// reader. But Alice had just received under these keys, and had not answered, so she held no private key of
    /// her own: her state of that moment is the reader that the thief would make of his copy.
    reader_of_bob: Side,
}

/// With the copy, and X25519 broken: a shadow of the whole conversation, begun at the theft. All is drawn in it as
/// it was drawn in reality, so its ratchet keys are the real ones, always: that is what breaking X25519 gives.
/// Except for what Bob's phone drew for ML-KEM after the theft: that never went over the line, the thief can
/// only make up his own. A real message that opens in the shadow is one
/// that the thief can read.
struct Quantum {
    shadow: [Side; 2],
}

impl Classical {
    fn read(&mut self, from: usize, message: &[u8]) -> Result<String, Error> {
        if from == ALICE { self.bob.decrypt(message) } else { self.reader_of_bob.decrypt(message) }
    }
}

impl Quantum {
    fn read(&self, from: usize, message: &[u8]) -> Result<String, Error> {
        self.shadow[1 - from].copy()?.decrypt(message)
    }

    /// Goes on as the real conversation does.
    fn follow(&mut self, from: usize, text: &str, kem: Draw, x25519: Draw) -> Result<(), Error> {
        let kem = if from == BOB { draw()? } else { kem };
        send(&mut self.shadow, from, text, kem, x25519).map(drop)
    }
}

fn draw() -> Result<Draw, Error> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}

/// Of one thief in one direction: the last message read, and the first one not read after it.
#[derive(Clone, Copy, Default)]
struct Score {
    last_read: usize,
    locked_out: Option<usize>,
}

impl Score {
    fn count(&mut self, number: usize, attempt: &Result<String, Error>) {
        if attempt.is_ok() {
            *self = Self { last_read: number, locked_out: None };
        } else if self.locked_out.is_none() {
            self.locked_out = Some(number);
        }
    }

    fn report(self, direction: &str) {
        let Self { last_read, locked_out } = self;
        match locked_out {
            Some(first) => {
                println!(
                    "    what {direction}: the last one he read is {last_read}; locked out since {first}"
                );
            }
            None => println!("    what {direction}: he is still reading, {last_read} messages in"),
        }
    }
}

fn main() -> Result<(), Error> {
    let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let mut prekeys = PreKeys::generate(&bob, 1, UnixTime::now());
    let bundle = PreKeyBundle::from_bytes(&prekeys.bundle().to_bytes())?.verify(UnixTime::now())?;
    let mut alice = Side::new(Session::initiate(&alice, bundle)?, true);
    let first = alice.encrypt("Alice's no. 1", draw()?, draw()?)?;
    let (session, _) = Session::accept(&bob, &mut prekeys, &first)?;
    let mut sides = [alice, Side::new(session, true)];

    println!("The epoch is the newest of the post-quantum ratchet that both sides have, before the message.");
    println!();
    println!("  no  from   epoch  thief with a copy    the same, X25519 broken");
    let mut thieves: Option<(Classical, Quantum)> = None;
    // Of each thief: what Alice writes, what Bob writes.
    let mut scores = [[Score::default(); 2]; 2];
    let writers = TURNS.iter().cycle().flat_map(|(who, count)| std::iter::repeat_n(*who, *count));
    for (number, from) in (1..=MOST).zip(writers).skip(1) {
        let epoch = sides[ALICE].session.pq_epoch().min(sides[BOB].session.pq_epoch());
        let text = format!("{}'s no. {number}", NAMES[from]);
        let (kem, x25519) = (draw()?, draw()?);
        let message = send(&mut sides, from, &text, kem, x25519)?;
        print!("{number:4}  {:5}  {epoch:5}", NAMES[from]);
        if let Some((classical, quantum)) = &mut thieves {
            let attempts = [classical.read(from, &message), quantum.read(from, &message)];
            quantum.follow(from, &text, kem, x25519)?;
            let [left, right] = &attempts;
            print!(
                "  {:20} {}",
                left.as_deref().unwrap_or("-"),
                match right {
                    Ok(read) => read,
                    // The library's word for a header that none of its keys opens.
                    Err(Error::UnknownSession) => "-",
                    Err(_) => "the header only",
                }
            );
            for (scores, attempt) in scores.iter_mut().zip(&attempts) {
                scores[from].count(number, attempt);
            }
        }
        println!();
        if number == THEFT {
            println!("      ---- Bob's phone is copied ----");
            let [alice, bob] = &sides;
            thieves = Some((
                Classical { bob: bob.copy()?, reader_of_bob: alice.copy()? },
                Quantum { shadow: [alice.copy()?, bob.copy()?] },
            ));
        }
        let since: Option<Vec<usize>> = scores.as_flattened().iter().map(|score| score.locked_out).collect();
        if since.is_some_and(|since| since.iter().all(|since| since + WATCH <= number)) {
            break;
        }
    }

    println!();
    println!("Bob's phone was copied after message {THEFT}.");
    for (scores, thief) in scores.iter().zip(["A thief with the copy", "If he breaks X25519 as well"]) {
        println!("  {thief}:");
        scores[ALICE].report("Alice wrote");
        scores[BOB].report("Bob wrote");
    }
    println!();
    let locked_out = scores.as_flattened().iter().all(|score| score.locked_out.is_some());
    assert!(locked_out, "this must not happen: a thief has not been locked out");
    println!(
        "The first is locked out by Bob's next new ratchet key and Alice's answer to it; the second by the"
    );
    println!(
        "first epoch of the post-quantum ratchet that begins after the theft, once both have it. Headers"
    );
    println!(
        "(counters and ratchet keys, no text) stay open to him. All this is of thieves who listen: one who"
    );
    println!("stays in the phone, or writes in Bob's name, is not locked out.");
    Ok(())
}

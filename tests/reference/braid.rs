//! Section 8.4: the ML-KEM Braid. A state is a variant, a transition an assignment.

use super::{
    encoding::{Codewords, Value},
    erasure::{Collector, Stream},
    kem::{self, Seed},
    notes::note,
    primitives::{Key, NO_SALT, cat, hkdf, hmac, label},
};

/// An epoch and its key.
pub type EpochKey = (u32, Key);

#[derive(Clone)]
enum State {
    // The side that makes the key pair.
    KeysUnsampled,
    KeysSampled { seed: Seed, header: Stream },
    HeaderSent { seed: Seed, vector: Stream, ct1: Collector },
    Ct1Received { seed: Seed, vector: Stream, ct1: Vec<u8> },
    EkSentCt1Received { seed: Seed, ct1: Vec<u8>, ct2: Collector },
    // The side that encapsulates.
    NoHeaderReceived { header: Collector },
    HeaderReceived { header: Vec<u8> },
    Ct1Sampled { half: Half, stream: Stream, vector: Collector },
    EkReceivedCt1Sampled { stream: Stream, ct2_and_mac: Vec<u8> },
    Ct1Acknowledged { half: Half, vector: Collector },
    Ct2Sampled { stream: Stream },
    // For good.
    Ended,
}

/// What the second half of an encapsulation is made of, beside the vector.
#[derive(Clone)]
struct Half {
    header: Vec<u8>,
    m: Key,
    ct1: Vec<u8>,
}

#[derive(Clone)]
pub struct Braid {
    pub epoch: u32,
    /// The authenticator's.
    root: Key,
    mac: Key,
    state: State,
}

impl Braid {
    pub fn new(pq_secret: &Key, initiator: bool) -> Self {
        let state = match initiator {
            true => State::KeysUnsampled,
            false => State::NoHeaderReceived { header: Collector::new(Value::Header.k()) },
        };
        let mut braid = Self { epoch: 1, root: NO_SALT, mac: NO_SALT, state };
        braid.update(pq_secret);
        braid
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// For what the next send draws randomness: 1 for a key pair, 2 for an encapsulation.
    pub fn draws_for(&self) -> Option<u8> {
        match self.state {
            State::KeysUnsampled => Some(1),
            State::HeaderReceived { .. } => Some(2),
            _ => None,
        }
    }

    /// The epoch, as it enters derivations.
    fn e(&self) -> [u8; 4] {
        self.epoch.to_be_bytes()
    }

    fn update(&mut self, x: &Key) {
        [self.root, self.mac] = hkdf(&self.root, x, label::AUTHENTICATOR, &self.e());
    }

    fn epoch_key(&self, k: &Key) -> Key {
        let [key] = hkdf(&NO_SALT, k, label::PQ_EPOCH_KEY, &self.e());
        key
    }

    pub fn mac_hdr(&self, header: &[u8]) -> Key {
        hmac(&self.mac, &cat(&[label::KEM_HEADER, &self.e(), header]))
    }

    fn mac_ct(&self, ct1: &[u8], ct2: &[u8]) -> Key {
        hmac(&self.mac, &cat(&[label::KEM_CIPHERTEXT, &self.e(), ct1, ct2]))
    }

    /// The codewords of a message, and an epoch's key that comes out. `random` is for what it samples (section 15).
    pub fn send(&mut self, room: usize, random: &[u8; 64]) -> (Codewords, Option<EpochKey>) {
        let mut put_out = None;
        match &self.state {
            State::KeysUnsampled => {
                note("transition 1");
                let (header, _) = kem::public_halves(random);
                let value = cat(&[&header, &self.mac_hdr(&header)]);
                self.state = State::KeysSampled { seed: *random, header: Stream::new(&value) };
            }
            State::HeaderReceived { header } => {
                note("transition 7");
                let (header, m) = (header.clone(), random[..32].try_into().unwrap());
                let (k, ct1) = kem::first_half(&header, &m);
                let key = self.epoch_key(&k);
                self.update(&key);
                put_out = Some((self.epoch, key));
                let (stream, vector) = (Stream::new(&ct1), Collector::new(Value::Vector.k()));
                self.state = State::Ct1Sampled { half: Half { header, m, ct1 }, stream, vector };
            }
            _ => {}
        }
        (self.stream().map(|(value, stream)| (value, stream.take(room))), put_out)
    }

    /// What is being sent.
    pub fn stream(&mut self) -> Option<(Value, &mut Stream)> {
        match &mut self.state {
            State::KeysSampled { header, .. } => Some((Value::Header, header)),
            State::HeaderSent { vector, .. } => Some((Value::Vector, vector)),
            State::Ct1Received { vector, .. } => Some((Value::VectorAck, vector)),
            State::Ct1Sampled { stream, .. } | State::EkReceivedCt1Sampled { stream, .. } => {
                Some((Value::Ct1, stream))
            }
            State::Ct2Sampled { stream } => Some((Value::Ct2, stream)),
            _ => None,
        }
    }

    /// Takes in a message of a Braid epoch. An epoch's key may come out.
    pub fn receive(&mut self, epoch: u32, codewords: &Codewords) -> Option<EpochKey> {
        if let State::Ct2Sampled { .. } = self.state
            && Some(epoch) == self.epoch.checked_add(1)
        {
            note("transition 13");
            self.next_epoch(State::KeysUnsampled);
            return None;
        }
        let (value, words) = match codewords {
            Some((value, words)) if epoch == self.epoch => (*value, words),
            _ => return None,
        };
        // `Ended` stands in for the state that is being left, and stays if the Braid ends.
        self.state = match (std::mem::replace(&mut self.state, State::Ended), value) {
            (State::KeysSampled { seed, .. }, Value::Ct1) => {
                note("transition 2");
                let vector = Stream::new(&kem::public_halves(&seed).1);
                let mut ct1 = Collector::new(Value::Ct1.k());
                ct1.collect(words);
                ct1_collected(seed, vector, ct1)
            }
            (State::HeaderSent { seed, vector, mut ct1 }, Value::Ct1) => {
                ct1.collect(words);
                ct1_collected(seed, vector, ct1)
            }
            (State::Ct1Received { seed, ct1, .. }, Value::Ct2) => {
                note("transition 4");
                let mut ct2 = Collector::new(Value::Ct2.k());
                ct2.collect(words);
                return self.ct2_collected(seed, ct1, ct2);
            }
            (State::EkSentCt1Received { seed, ct1, mut ct2 }, Value::Ct2) => {
                ct2.collect(words);
                return self.ct2_collected(seed, ct1, ct2);
            }
            (State::NoHeaderReceived { mut header }, Value::Header) => {
                header.collect(words);
                self.header_collected(header)
            }
            (State::Ct1Sampled { half, stream, mut vector }, Value::Vector | Value::VectorAck) => {
                vector.collect(words);
                match (vector.value(), value) {
                    (Some(vector), Value::Vector) => match self.second_half(&half, &vector) {
                        Some(ct2_and_mac) => {
                            note("transition 10");
                            State::EkReceivedCt1Sampled { stream, ct2_and_mac }
                        }
                        None => State::Ended,
                    },
                    (Some(vector), _) => self.vector_acknowledged(&half, &vector, "transition 9"),
                    (None, Value::Vector) => State::Ct1Sampled { half, stream, vector },
                    (None, _) => {
                        note("transition 8");
                        State::Ct1Acknowledged { half, vector }
                    }
                }
            }
            (State::EkReceivedCt1Sampled { ct2_and_mac, .. }, Value::VectorAck) => {
                note("transition 12");
                State::Ct2Sampled { stream: Stream::new(&ct2_and_mac) }
            }
            (State::Ct1Acknowledged { half, mut vector }, Value::Vector | Value::VectorAck) => {
                vector.collect(words);
                match vector.value() {
                    Some(vector) => self.vector_acknowledged(&half, &vector, "transition 11"),
                    None => State::Ct1Acknowledged { half, vector },
                }
            }
            (state, _) => state,
        };
        None
    }

    fn header_collected(&mut self, header: Collector) -> State {
        let Some(value) = header.value() else {
            return State::NoHeaderReceived { header };
        };
        let (header, mac) = value.split_at(64);
        if self.mac_hdr(header) != mac {
            note("the Braid ends: MacHdr");
            return State::Ended;
        }
        note("transition 6");
        State::HeaderReceived { header: header.to_vec() }
    }

    /// ct2 and MacCt, if the vector is valid.
    fn second_half(&self, half: &Half, vector: &[u8]) -> Option<Vec<u8>> {
        let Some(ct2) = kem::second_half(&half.header, vector, &half.m) else {
            note("the Braid ends: vector");
            return None;
        };
        Some(cat(&[&ct2, &self.mac_ct(&half.ct1, &ct2)]))
    }

    fn vector_acknowledged(&self, half: &Half, vector: &[u8], transition: &str) -> State {
        let Some(value) = self.second_half(half, vector) else {
            return State::Ended;
        };
        note(transition);
        State::Ct2Sampled { stream: Stream::new(&value) }
    }

    fn ct2_collected(&mut self, seed: Seed, ct1: Vec<u8>, ct2: Collector) -> Option<EpochKey> {
        let Some(value) = ct2.value() else {
            self.state = State::EkSentCt1Received { seed, ct1, ct2 };
            return None;
        };
        let (ct2, mac) = value.split_at(128);
        let key = self.epoch_key(&kem::decapsulate(&seed, &ct1, ct2));
        self.update(&key);
        if self.mac_ct(&ct1, ct2) != mac {
            note("the Braid ends: MacCt");
            return None;
        }
        note("transition 5");
        let put_out = Some((self.epoch, key));
        self.next_epoch(State::NoHeaderReceived { header: Collector::new(Value::Header.k()) });
        put_out
    }

    /// The last epoch is 2^32 - 2.
    fn next_epoch(&mut self, state: State) {
        self.epoch += 1;
        self.state = if self.epoch == u32::MAX { State::Ended } else { state };
    }
}

fn ct1_collected(seed: Seed, vector: Stream, ct1: Collector) -> State {
    match ct1.value() {
        Some(ct1) => {
            note("transition 3");
            State::Ct1Received { seed, vector, ct1 }
        }
        None => State::HeaderSent { seed, vector, ct1 },
    }
}

//! The EC ratchet: section 8.2, and steps 2 to 4 of section 10. Everything happens at once and in place: the session works
//! on a copy of itself, and throws it away if the message fails.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    chain::{Chain, LAST, MAX_SKIPPED},
    encoding::Header,
    notes::note,
    primitives::{Key, Refusal, hkdf, label, x25519, x25519_is_valid, x25519_public},
};

/// The most that one message steps over in a chain.
const MAX_SKIP: u32 = 25_000;
const MAX_CLOSED: usize = 40;
const MAX_INCARNATIONS: usize = 32;
/// What is too late: messages of a chain, and chains.
const MAX_LATE: u32 = 25_000;
const MAX_LATE_CHAINS: u64 = 2_000;

#[derive(Clone)]
pub struct Sending {
    pub header_key: Key,
    pub chain: Chain,
}

/// A receiving chain: the current one, or a closed one of which messages are missing.
#[derive(Clone)]
pub struct Receiving {
    pub header_key: Key,
    ratchet_key: Key,
    pub chain: Chain,
    /// How many chains were received before it.
    sequence: u64,
    /// Its number 0 among all messages of the peer's.
    start: u64,
    /// What a closed chain goes up to; none while it is the current one.
    length: Option<u32>,
    pub skipped: BTreeMap<u32, Key>,
    /// The highest number whose key was discarded unused, plus one.
    forgotten: u32,
    /// Incarnations that messages came from, in the order in which they were first seen, each with the lowest and the
    /// highest number.
    incarnations: Vec<(u32, u32, u32)>,
}

impl Receiving {
    fn new(header_key: Key, ratchet_key: Key, chain_key: Key, sequence: u64, start: u64) -> Self {
        Self {
            sequence,
            start,
            header_key,
            ratchet_key,
            chain: Chain::new(chain_key),
            length: None,
            skipped: BTreeMap::new(),
            forgotten: 0,
            incarnations: Vec::new(),
        }
    }

    /// Steps over a run, up to `to` and without it, keeping the keys.
    fn skip(&mut self, to: u32) {
        let len = to.saturating_sub(self.chain.position) as usize;
        self.skipped.extend(self.chain.run(to, MAX_SKIPPED));
        if len > MAX_SKIPPED {
            note("a run is longer than what is kept of it");
            self.forgotten = to - MAX_SKIPPED as u32;
        }
    }

    fn discard_oldest(&mut self) {
        let (number, _) = self.skipped.pop_first().unwrap();
        self.forgotten = self.forgotten.max(number + 1);
    }

    /// The skipped key of a number that is behind, or why there is none.
    fn skipped_key(&mut self, header: &Header) -> Result<Key, Refusal> {
        if let Some(key) = self.skipped.remove(&header.n) {
            return Ok(key);
        }
        let anothers = self.incarnations.iter().any(|(incarnation, lowest, highest)| {
            *incarnation != header.incarnation && (*lowest..=*highest).contains(&header.n)
        });
        if anothers {
            Err(Refusal::PeerRolledBack)
        } else if header.n < self.forgotten {
            Err(Refusal::TooOld)
        } else {
            Err(Refusal::Duplicate)
        }
    }

    fn remember(&mut self, header: &Header) {
        let known = self.incarnations.iter_mut().find(|(incarnation, ..)| *incarnation == header.incarnation);
        if let Some((_, lowest, highest)) = known {
            *lowest = header.n.min(*lowest);
            *highest = header.n.max(*highest);
            return;
        }
        if self.incarnations.len() == MAX_INCARNATIONS {
            note("an incarnation is forgotten");
            self.incarnations.remove(0);
        }
        self.incarnations.push((header.incarnation, header.n, header.n));
    }
}

#[derive(Clone)]
pub struct Ec {
    pub root: Key,
    /// Private and public.
    own: Option<(Key, Key)>,
    pub peer: Option<Key>,
    pub sending: Option<Sending>,
    pub receiving: Option<Receiving>,
    nhks: Key,
    nhkr: Key,
    pn: u32,
    /// Oldest first, each with skipped keys.
    pub closed: Vec<Receiving>,
    /// How many chains have been received.
    received: u64,
}

/// Which key opens a header.
#[derive(Clone, Copy)]
pub enum Under {
    Current,
    Next,
    /// Of the closed chain of this index.
    Closed(usize),
}

/// What step 4 gives.
pub struct EcKey {
    pub mk: Key,
    /// Whether the message is new: the receiving chain stepped to it, or turned.
    pub is_new: bool,
    /// The message among all of the peer's.
    pub place: u64,
}

impl Ec {
    pub fn initiator(root: Key, hk_ab: Key, hk_ba: Key, spk_b: Key) -> Self {
        Self {
            root,
            own: None,
            peer: Some(spk_b),
            sending: None,
            receiving: None,
            nhks: hk_ab,
            nhkr: hk_ba,
            pn: 0,
            closed: Vec::new(),
            received: 0,
        }
    }

    pub fn responder(root: Key, hk_ab: Key, hk_ba: Key, signed_prekey: (Key, Key)) -> Self {
        Self {
            own: Some(signed_prekey),
            peer: None,
            nhks: hk_ba,
            nhkr: hk_ab,
            ..Self::initiator(root, hk_ab, hk_ba, Key::default())
        }
    }

    /// CK and NHK of a root step.
    fn root_step(&mut self, dh: &Key) -> (Key, Key) {
        let [root, ck, nhk] = hkdf(&self.root, dh, label::EC_ROOT, b"");
        self.root = root;
        (ck, nhk)
    }

    /// Turn when sending, with a new private ratchet key.
    pub fn turn_to_send(&mut self, private: Key) {
        // A peer's key is never of small order: it has given a result in the turn when receiving, or in the handshake.
        let dh = x25519(&private, &self.peer.unwrap()).unwrap();
        let (ck, nhk) = self.root_step(&dh);
        self.own = Some((private, x25519_public(&private)));
        self.sending = Some(Sending { header_key: self.nhks, chain: Chain::new(ck) });
        self.nhks = nhk;
    }

    /// mk, and what a header says of this ratchet: ratchet key, pn, n.
    pub fn send(&mut self) -> (Key, (Key, u32, u32)) {
        let chain = &mut self.sending.as_mut().unwrap().chain;
        let n = chain.position;
        (chain.step(), (self.own.unwrap().1, self.pn, n))
    }

    /// Header keys in the order in which they are tried.
    pub fn header_keys(&self) -> Vec<(Under, Key)> {
        let current = self.receiving.iter().map(|chain| (Under::Current, chain.header_key));
        let next = self.own.iter().map(|_| (Under::Next, self.nhkr));
        let closed = self.closed.iter().enumerate().rev();
        let closed = closed.map(|(index, chain)| (Under::Closed(index), chain.header_key));
        current.chain(next).chain(closed).collect()
    }

    /// Steps 3 and 4.
    pub fn receive(&mut self, under: Under, header: &Header) -> Result<EcKey, Refusal> {
        if !x25519_is_valid(&header.ratchet_key) {
            return Err(Refusal::InvalidKey);
        }
        let taken = match under {
            Under::Next => self.receive_next(header)?,
            Under::Current | Under::Closed(_) => {
                let chain = match under {
                    Under::Closed(index) => &mut self.closed[index],
                    _ => self.receiving.as_mut().unwrap(),
                };
                if header.ratchet_key != chain.ratchet_key {
                    return Err(Refusal::PeerRolledBack);
                }
                let behind = header.n < chain.length.unwrap_or(chain.chain.position);
                let mk = if behind {
                    chain.skipped_key(header)?
                } else if chain.length.is_some() {
                    return Err(Refusal::PeerRolledBack);
                } else {
                    if header.n - chain.chain.position > MAX_SKIP || header.n == LAST {
                        return Err(Refusal::TooFarAhead);
                    }
                    chain.skip(header.n);
                    chain.chain.step()
                };
                chain.remember(header);
                EcKey { mk, is_new: !behind, place: chain.start + u64::from(header.n) }
            }
        };
        self.bound();
        Ok(taken)
    }

    /// Under NHKr.
    fn receive_next(&mut self, header: &Header) -> Result<EcKey, Refusal> {
        if self.received == 1 << 32 {
            return Err(Refusal::TooFarAhead);
        }
        let (private, _) = self.own.unwrap();
        let dh = x25519(&private, &header.ratchet_key).ok_or(Refusal::InvalidKey)?;
        if header.n > MAX_SKIP {
            return Err(Refusal::TooFarAhead);
        }
        let mut start = 0;
        if let Some(mut chain) = self.receiving.take() {
            if header.pn.saturating_sub(chain.chain.position) > MAX_SKIP {
                note("the rest of a chain is abandoned");
                chain.forgotten = header.pn;
            } else {
                chain.skip(header.pn);
            }
            let length = header.pn.max(chain.chain.position);
            chain.length = Some(length);
            start = chain.start + u64::from(length);
            if !chain.skipped.is_empty() {
                self.closed.push(chain);
            }
        }

        // Turn when receiving.
        note("EC turn");
        let (ck, nhk) = self.root_step(&dh);
        let mut chain = Receiving::new(self.nhkr, header.ratchet_key, ck, self.received, start);
        self.nhkr = nhk;
        self.peer = Some(header.ratchet_key);
        self.pn = self.sending.take().map_or(0, |sending| sending.chain.position);
        self.own = None;
        self.received += 1;

        chain.skip(header.n);
        let mk = chain.chain.step();
        chain.remember(header);
        self.receiving = Some(chain);
        Ok(EcKey { mk, is_new: true, place: start + u64::from(header.n) })
    }

    /// How many skipped keys there are.
    pub fn skipped(&self) -> usize {
        self.closed.iter().chain(&self.receiving).map(|chain| chain.skipped.len()).sum()
    }

    /// Which messages there are skipped keys of, counted among all of the peer's.
    pub fn places(&self) -> BTreeSet<u64> {
        let chains = self.closed.iter().chain(&self.receiving);
        chains.flat_map(|chain| chain.skipped.keys().map(|n| chain.start + u64::from(*n))).collect()
    }

    /// The end of the EC part of step 6: what is too late.
    pub fn expire(&mut self) {
        let Some(chain) = &mut self.receiving else { return };
        let position = chain.chain.position;
        while chain.skipped.first_key_value().is_some_and(|(n, _)| *n < position.saturating_sub(MAX_LATE)) {
            note("a key of the chain is too late");
            chain.discard_oldest();
        }
        let sequence = chain.sequence;
        let before = self.closed.len();
        self.closed.retain(|closed| position <= MAX_LATE && sequence - closed.sequence <= MAX_LATE_CHAINS);
        if self.closed.len() < before {
            note("a closed chain is too late");
        }
    }

    /// At most 40 closed chains, 2,000 keys: the oldest go.
    fn bound(&mut self) {
        self.closed.retain(|chain| !chain.skipped.is_empty());
        while self.closed.len() > MAX_CLOSED {
            note("a closed chain goes with its keys");
            self.closed.remove(0);
        }
        while self.skipped() > MAX_SKIPPED {
            note("an EC key is evicted");
            let oldest = self.closed.first_mut().or(self.receiving.as_mut()).unwrap();
            oldest.discard_oldest();
            self.closed.retain(|chain| !chain.skipped.is_empty());
        }
    }
}

//! The EC ratchet: section 8.2, and steps 2 to 4 of section 10. Everything happens at once and in place: the session works
//! on a copy of itself, and throws it away if the message fails.

use std::collections::BTreeMap;

use super::{
    chain::{Chain, LAST, MAX_SKIPPED},
    encoding::Header,
    notes::note,
    primitives::{Key, Refusal, hkdf, label, x25519, x25519_is_valid, x25519_public},
};

/// The most that one message steps over in a chain.
const MAX_SKIP: u32 = 25_000;
const MAX_CLOSED: usize = 40;
const MAX_INCARNATIONS: usize = 16;

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
    /// What a closed chain goes up to; none while it is the current one.
    length: Option<u32>,
    pub skipped: BTreeMap<u32, Key>,
    /// The highest number whose key was discarded unused, plus one.
    forgotten: u32,
    /// Incarnations that messages came from, in the order in which they were first seen, each with the lowest number.
    incarnations: Vec<(u32, u32)>,
    forgot_an_incarnation: bool,
}

impl Receiving {
    fn new(header_key: Key, ratchet_key: Key, chain_key: Key) -> Self {
        Self {
            header_key,
            ratchet_key,
            chain: Chain::new(chain_key),
            length: None,
            skipped: BTreeMap::new(),
            forgotten: 0,
            incarnations: Vec::new(),
            forgot_an_incarnation: false,
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
        if header.n < self.forgotten {
            return Err(Refusal::TooOld);
        }
        let known = self
            .incarnations
            .iter()
            .any(|(incarnation, lowest)| *incarnation == header.incarnation && *lowest <= header.n);
        if known || self.forgot_an_incarnation {
            Err(Refusal::Duplicate)
        } else {
            Err(Refusal::PeerRolledBack)
        }
    }

    fn remember(&mut self, header: &Header) {
        let known = self.incarnations.iter_mut().find(|(incarnation, _)| *incarnation == header.incarnation);
        if let Some((_, lowest)) = known {
            *lowest = header.n.min(*lowest);
            return;
        }
        if self.incarnations.len() == MAX_INCARNATIONS {
            note("an incarnation is forgotten");
            self.incarnations.remove(0);
            self.forgot_an_incarnation = true;
        }
        self.incarnations.push((header.incarnation, header.n));
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
    /// How many of the PQ keys that it skips are kept at most, for want of EC keys to go with.
    pub keep_pq: usize,
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
                let keep_pq = if behind { self.skipped() } else { MAX_SKIPPED };
                EcKey { mk, is_new: !behind, keep_pq }
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
        let mut keep_pq = MAX_SKIPPED;
        if let Some(mut chain) = self.receiving.take() {
            if header.pn.saturating_sub(chain.chain.position) > MAX_SKIP {
                note("the rest of a chain is abandoned");
                chain.forgotten = header.pn;
                keep_pq = header.n as usize;
            } else {
                chain.skip(header.pn);
            }
            chain.length = Some(header.pn.max(chain.chain.position));
            if !chain.skipped.is_empty() {
                self.closed.push(chain);
            }
        }

        // Turn when receiving.
        note("EC turn");
        let (ck, nhk) = self.root_step(&dh);
        let mut chain = Receiving::new(self.nhkr, header.ratchet_key, ck);
        self.nhkr = nhk;
        self.peer = Some(header.ratchet_key);
        self.pn = self.sending.take().map_or(0, |sending| sending.chain.position);
        self.own = None;
        self.received += 1;

        chain.skip(header.n);
        let mk = chain.chain.step();
        chain.remember(header);
        self.receiving = Some(chain);
        Ok(EcKey { mk, is_new: true, keep_pq })
    }

    /// How many skipped keys there are.
    pub fn skipped(&self) -> usize {
        self.closed.iter().chain(&self.receiving).map(|chain| chain.skipped.len()).sum()
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

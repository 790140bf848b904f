//! The PQ ratchet: section 8.3, and step 5 of section 10.

use std::collections::BTreeMap;

use super::{
    braid::{Braid, EpochKey},
    chain::{Chain, LAST, MAX_SKIPPED},
    ec::{Ec, EcKey},
    encoding::{Codewords, Header},
    notes::note,
    primitives::{Key, NO_SALT, Refusal, Tape, cat, hkdf, label},
};

const MAX_SKIP: u32 = 262_144;
const MAX_EPOCHS: usize = 256;

#[derive(Clone)]
pub struct Pq {
    initiator: bool,
    root: Key,
    pub newest: u32,
    pub sending: Chain,
    pub sending_epoch: u32,
    /// The sending chain of an epoch that the Braid is not past.
    waiting: Option<(u32, Chain)>,
    /// By epoch.
    pub receiving: BTreeMap<u32, Chain>,
    /// By epoch and number.
    pub skipped: BTreeMap<(u32, u32), Key>,
    pub braid: Braid,
}

/// Root, sending and receiving chain.
fn step(salt: &Key, ikm: &Key, label: &[u8], initiator: bool) -> (Key, Chain, Chain) {
    let [root, ab, ba] = hkdf(salt, ikm, label, b"");
    let (sending, receiving) = if initiator { (ab, ba) } else { (ba, ab) };
    (root, Chain::new(sending), Chain::new(receiving))
}

impl Pq {
    pub fn new(pq_secret: &Key, initiator: bool) -> Self {
        let (root, sending, receiving) = step(&NO_SALT, pq_secret, label::PQ_START, initiator);
        Self {
            initiator,
            root,
            newest: 0,
            sending,
            sending_epoch: 0,
            waiting: None,
            receiving: BTreeMap::from([(0, receiving)]),
            skipped: BTreeMap::new(),
            braid: Braid::new(pq_secret, initiator),
        }
    }

    /// The randomness of the next send (section 15), drawn only if the Braid samples.
    pub fn draw(&self, tape: &mut Tape) -> [u8; 64] {
        let Some(purpose) = self.braid.draws_for() else {
            return [0; 64];
        };
        let context = cat(&[&self.newest.to_be_bytes(), &[purpose]]);
        let [a, b] = hkdf(&tape.key(), &self.root, label::HEDGED_KEM, &context);
        cat(&[&a, &b]).try_into().unwrap()
    }

    /// mk, and what a header says of this ratchet: pq_epoch, pq_n.
    pub fn send(&mut self) -> (Key, (u32, u32)) {
        let pq_n = self.sending.position;
        (self.sending.step(), (self.sending_epoch, pq_n))
    }

    /// The codewords of a message, of which the key has been taken.
    pub fn send_codewords(&mut self, room: usize, random: &[u8; 64]) -> Codewords {
        let (codewords, put_out) = self.braid.send(room, random);
        self.after_the_braid(put_out);
        codewords
    }

    /// Step 5: the message key.
    pub fn receive(&mut self, header: &Header, taken: &EcKey, ec: &Ec) -> Result<Key, Refusal> {
        let (epoch, n) = (header.pq_epoch, header.pq_n);
        if epoch > self.newest {
            return Err(Refusal::TooFarAhead);
        }
        let newest = self.newest;
        if let Some(chain) = self.receiving.get_mut(&epoch).filter(|chain| n >= chain.position) {
            if n - chain.position > MAX_SKIP || n == LAST {
                return Err(Refusal::TooFarAhead);
            }
            if epoch + 1 < newest {
                note("a message of an epoch before the newest two is read");
            }
            // A key is of use beside the EC key of its message: that many messages before this one.
            let places = ec.places();
            let place = |number: u32| taken.place.checked_sub(u64::from(n - number));
            let skipped =
                chain.run_of(n, |number| place(number).is_some_and(|place| places.contains(&place)));
            let mk = chain.step();
            self.skipped.extend(skipped.into_iter().map(|(n, key)| ((epoch, n), key)));
            while self.skipped.len() > MAX_SKIPPED {
                note("a PQ key is evicted");
                self.skipped.pop_first();
            }
            return Ok(mk);
        }
        match self.skipped.remove(&(epoch, n)) {
            Some(mk) => {
                note("a skipped PQ key is used");
                Ok(mk)
            }
            None if taken.is_new => Err(Refusal::PeerRolledBack),
            None => Err(Refusal::TooOld),
        }
    }

    /// The end of step 6: codewords of a message that has opened, and what is kept of epochs past.
    pub fn receive_codewords(&mut self, header: &Header, codewords: &Codewords, ec_skipped: usize) {
        let put_out = self.braid.receive(header.pq_epoch + 1, codewords);
        self.after_the_braid(put_out);

        let before = self.receiving.len();
        let keep = if ec_skipped == 0 { 2 } else { MAX_EPOCHS };
        if ec_skipped == 0 && !self.skipped.is_empty() {
            note("PQ keys without EC keys are erased");
            self.skipped.clear();
        }
        while self.skipped.len() > ec_skipped {
            note("an older PQ key goes, as its EC key has");
            self.skipped.pop_first();
        }
        while self.receiving.len() > keep {
            self.receiving.pop_first();
        }
        if before > MAX_EPOCHS && keep == MAX_EPOCHS {
            note("a receiving chain of an epoch is one too many");
        }
    }

    fn after_the_braid(&mut self, put_out: Option<EpochKey>) {
        if let Some((epoch, key)) = put_out {
            let (root, sending, receiving) = step(&self.root, &key, label::PQ_EPOCH, self.initiator);
            self.root = root;
            self.newest = epoch;
            self.waiting = Some((epoch, sending));
            self.receiving.insert(epoch, receiving);
        }
        if self.braid.has_ended() {
            self.waiting = None;
        }
        if let Some((epoch, _)) = self.waiting
            && self.braid.epoch > epoch
        {
            note("PQ epoch");
            (self.sending_epoch, self.sending) = self.waiting.take().unwrap();
        }
    }
}

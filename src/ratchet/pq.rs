//! The sparse PQ ratchet: symmetric chains per epoch, both directions, each epoch keyed by the
//! [Braid](super::braid) (Double Ratchet, revision 4, section 5).
//!
//! ```text
//! epoch 0:      (root, CK A->B, CK B->A) = HKDF(salt zeros, ikm secret, "pq start"), 96 bytes
//! epoch e > 0:  (root, CK A->B, CK B->A) = HKDF(salt root, ikm the epoch's key, "pq epoch")
//! ```
//! Live from the first message: epoch 0 is keyed by the post-quantum handshake, and no message can be read
//! without its PQ message key. A message's key depends on the epoch and number in its header, never on the
//! codewords that it carries.
//!
//! Not its concern: where an epoch's key comes from.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::mem;

use rand::TryCryptoRng;
use serde::{Deserialize, Serialize};

use super::{
    MAX_PQ_EPOCHS, MAX_PQ_SKIP, PqRootKey, PqSecret,
    braid::{Braid, Output, Randomness, Room},
    chain::{Chain, MessageKey, Pq, SkippedRun},
    skipped::SkippedMessageKeys,
};
use crate::{
    Error,
    crypto::{
        kdf::{self, Label},
        random,
        secret::Secret,
        trace,
    },
    wire::{body::Codewords, header::Header},
};

/// Which way a side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// How many receiving chains stay in the hot half: the newest may be ahead of what the peer sends in. What it sends in
/// never goes back, so chains before these are for messages that are late.
const HOT_CHAINS: usize = 2;

/// The hot half of the PQ ratchet.
#[derive(Serialize, Deserialize)]
pub(crate) struct PqRatchet {
    role: Role,
    root: PqRootKey,
    /// The newest epoch that has a key.
    epoch: u32,
    sending: EpochChain,
    /// The sending chain of the newest epoch, until the peer is known to have its key.
    next_sending: Option<Box<EpochChain>>,
    /// Newest last.
    receiving: VecDeque<Box<EpochChain>>,
    braid: Braid,
}

#[derive(Serialize, Deserialize)]
struct EpochChain {
    epoch: u32,
    chain: Chain<Pq>,
}

/// The cold half: keys of missing messages, by epoch and number, and the receiving chains of epochs past.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct PqCold {
    keys: SkippedMessageKeys<Pq>,
    /// Newest last.
    receiving: VecDeque<Box<EpochChain>>,
}

/// What the next message is made with.
pub(crate) struct PqOutgoing {
    pub(crate) epoch: u32,
    pub(crate) number: u32,
    pub(crate) message_key: MessageKey<Pq>,
}

/// What a message changes in the PQ ratchet, once it has authenticated.
pub(crate) struct PqReceipt {
    pub(crate) message_key: MessageKey<Pq>,
    epoch: u32,
    number: u32,
    /// The receiving chain moves on, unless a missing message has arrived.
    advance: Option<(Chain<Pq>, SkippedRun<Pq>)>,
}

/// The root and both chains that follow from a root and a secret: (root, CK A->B, CK B->A).
pub(super) fn root_step(root: &[u8; 32], secret: &[u8; 32], label: Label) -> (PqRootKey, [Secret<32>; 2]) {
    let derived: Secret<96> = kdf::derive(root, secret, label, [&[], &[]]);
    let [root, initiator, responder] = kdf::split(&derived);
    trace!("PQ root key", root.as_bytes());
    trace!("PQ chain key A->B", initiator.as_bytes());
    trace!("PQ chain key B->A", responder.as_bytes());
    (PqRootKey::new(root), [initiator, responder])
}

impl Role {
    /// The chains of an epoch: (sending, receiving).
    fn chains(self, epoch: u32, [initiator, responder]: [Secret<32>; 2]) -> (EpochChain, EpochChain) {
        let (sending, receiving) = match self {
            Self::Initiator => (initiator, responder),
            Self::Responder => (responder, initiator),
        };
        let chain = |key| EpochChain { epoch, chain: Chain::new(key) };
        (chain(sending), chain(receiving))
    }
}

impl PqRatchet {
    /// KDF_SCKA_INIT.
    pub(crate) fn start(secret: &PqSecret, role: Role) -> Self {
        let (root, chain_keys) = root_step(&[0; 32], secret.as_bytes(), Label::PQ_START);
        let (sending, receiving) = role.chains(0, chain_keys);
        let braid = match role {
            Role::Initiator => Braid::initiate(secret),
            Role::Responder => Braid::respond(secret),
        };
        Self {
            role,
            root,
            epoch: 0,
            sending,
            next_sending: None,
            receiving: VecDeque::from([Box::new(receiving)]),
            braid,
        }
    }

    /// The epoch that this side sends in: the newest that the peer is sure to have the key of.
    pub(crate) fn epoch(&self) -> u32 {
        self.sending.epoch
    }

    /// Whether the Braid has ended, and no epoch will follow.
    pub(crate) fn has_failed(&self) -> bool {
        self.braid.has_failed()
    }

    /// Whether another message can be sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.sending.chain.check()
    }

    /// Randomness for the next message, if it samples a key pair or an encapsulation. Changes nothing.
    pub(crate) fn prepare(&self, rng: &mut impl TryCryptoRng) -> Result<Option<Randomness>, Error> {
        let Some(sample) = self.braid.samples() else { return Ok(None) };
        // Both sides may draw with the same root and epoch: one a key pair, the other an encapsulation to it.
        let context = [&self.epoch.to_be_bytes()[..], &[sample as u8]].concat();
        random::hedged(rng, self.root.as_bytes(), Label::HEDGED_KEM, &context).map(Some)
    }

    /// Steps the sending chain and the Braid.
    pub(crate) fn send(
        &mut self,
        randomness: Option<Randomness>,
        room: Room<'_>,
    ) -> Result<PqOutgoing, Error> {
        let epoch = self.sending.epoch;
        let (number, message_key) = self.sending.chain.advance()?;
        let output = self.braid.send(randomness, room);
        self.add_epoch(output);
        Ok(PqOutgoing { epoch, number, message_key })
    }

    /// Derives the message key of an authenticated header, and what will change. Changes nothing. Of messages skipped over, it
    /// keeps the keys of those that `missing` tells, by how many messages before this one each was sent, farthest first.
    pub(crate) fn receive(
        &self,
        cold: &PqCold,
        header: &Header,
        missing: impl FnOnce() -> Vec<u64>,
    ) -> Result<PqReceipt, Error> {
        let (epoch, number) = (header.pq_epoch, header.pq_message_number);
        if epoch > self.epoch {
            // Only a side that has lost its newest state misses an epoch that the peer sends in.
            return Err(Error::TooFarAhead);
        }
        let chains = cold.receiving.iter().chain(&self.receiving);
        let current = chains.rev().find(|current| current.epoch == epoch);
        if let Some(EpochChain { chain, .. }) = current.map(|current| &**current)
            && number >= chain.next()
        {
            // Most messages skip nothing.
            let missing = if number > chain.next() { missing() } else { Vec::new() };
            let numbers =
                missing.iter().filter_map(|before| number.checked_sub(u32::try_from(*before).ok()?));
            let mut numbers = numbers.skip_while(|number| *number < chain.next()).peekable();
            let is_kept = |number| numbers.next_if_eq(&number).is_some();
            let ahead = chain.look_ahead_for(number, MAX_PQ_SKIP, is_kept)?;
            let advance = Some((ahead.chain, ahead.skipped));
            return Ok(PqReceipt { message_key: ahead.message_key, epoch, number, advance });
        }
        let message_key = cold.keys.get(epoch, number).ok_or(Error::TooOld)?.duplicate();
        Ok(PqReceipt { message_key, epoch, number, advance: None })
    }

    /// Puts a receipt into force, and takes in the codewords of the message. Whether the cold half has changed.
    ///
    /// `missing`: how many keys of messages that have not arrived the EC ratchet has. No more are of use here, and if there
    /// are none, nothing that is behind can be read any more, and what is kept for it goes.
    pub(crate) fn commit(
        &mut self,
        cold: &mut PqCold,
        receipt: PqReceipt,
        codewords: Option<&Codewords>,
        missing: usize,
    ) -> bool {
        let PqReceipt { epoch, number, advance, .. } = receipt;
        let mut cold_changed = match advance {
            None => {
                cold.keys.remove(epoch, number);
                true
            }
            Some((chain, skipped)) => {
                let any = !skipped.keys.is_empty();
                cold.keys.insert(epoch, skipped, |_, _| {});
                self.advance(cold, epoch, chain) || any
            }
        };
        // The peer was agreeing on the epoch after the one that it sent in.
        let agreeing_on = epoch.saturating_add(1);
        if self.braid.wants(agreeing_on, codewords) {
            let output = self.braid.receive(agreeing_on, codewords);
            self.add_epoch(output);
        }
        // Only here, not when sending: so that sending leaves the cold half alone.
        while self.receiving.len() > HOT_CHAINS
            && let Some(past) = self.receiving.pop_front()
        {
            if missing > 0 {
                cold.receiving.push_back(past);
                cold_changed = true;
            }
        }
        if missing == 0 && !cold.is_empty() {
            *cold = PqCold::default();
            cold_changed = true;
        }
        // EC keys are dropped oldest first, and here a key is kept only beside its EC key: what is too many is the oldest.
        cold_changed |= cold.keys.truncate(missing);
        while cold.receiving.len() > MAX_PQ_EPOCHS - HOT_CHAINS {
            cold.receiving.pop_front();
        }
        cold_changed
    }

    /// Moves the receiving chain of an epoch on. Whether that is in the cold half.
    fn advance(&mut self, cold: &mut PqCold, epoch: u32, chain: Chain<Pq>) -> bool {
        if let Some(current) = self.receiving.iter_mut().find(|current| current.epoch == epoch) {
            current.chain = chain;
            return false;
        }
        if let Some(past) = cold.receiving.iter_mut().find(|past| past.epoch == epoch) {
            past.chain = chain;
        }
        true
    }

    /// KDF_SCKA_RK: takes in an epoch's key, if there is one; and sends on the newest epoch that the peer has.
    fn add_epoch(&mut self, output: Option<Output>) {
        if let Some(Output { epoch, key }) = output {
            let (root, chain_keys) = root_step(self.root.as_bytes(), key.as_bytes(), Label::PQ_EPOCH);
            self.root = root;
            self.epoch = epoch;
            let (sending, receiving) = self.role.chains(epoch, chain_keys);
            self.next_sending = Some(Box::new(sending));
            self.receiving.push_back(Box::new(receiving));
        }
        if self.braid.has_failed() {
            // Nothing will be sent in it.
            self.next_sending = None;
        }
        let agreed = self.next_sending.take_if(|next| self.braid.epoch() > Some(next.epoch));
        if let Some(mut agreed) = agreed {
            // Swapped, not moved out: the box is wiped when it goes, with the old chain in it.
            mem::swap(&mut self.sending, &mut *agreed);
        }
    }
}

impl PqCold {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.receiving.is_empty()
    }
}

#[cfg(test)]
impl PqRatchet {
    /// The newest epoch that has a key here.
    pub(crate) fn newest_epoch(&self) -> u32 {
        self.epoch
    }

    /// Moves the sending chain to a number, with a key of its own.
    pub(crate) fn set_sending_number(&mut self, number: u32) {
        self.sending.chain = Chain::at([1; 32], number);
    }

    /// The key of a message of this side's, in an epoch that this state has a sending chain of.
    pub(crate) fn own_key(&self, header: &Header) -> Result<MessageKey<Pq>, Error> {
        let mut chains = self.next_sending.as_deref().into_iter().chain([&self.sending]);
        let current = chains.find(|current| current.epoch == header.pq_epoch).ok_or(Error::TooFarAhead)?;
        current.chain.stolen_key(header.pq_message_number)
    }
}

#[cfg(test)]
impl PqCold {
    /// The state that takes the most bytes.
    pub(crate) fn largest() -> Self {
        let chain = |_| Box::new(EpochChain { epoch: u32::MAX, chain: Chain::at([0xff; 32], u32::MAX) });
        Self {
            keys: SkippedMessageKeys::largest(),
            receiving: (0..MAX_PQ_EPOCHS - HOT_CHAINS).map(chain).collect(),
        }
    }
}

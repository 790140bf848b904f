//! The EC double ratchet with header encryption (Double Ratchet, revision 4, sections 3 and 4).
//!
//! ```text
//!            send: new ratchet key, root step
//!   Received ────────────────────────────────> Sending
//!      ^                                          │
//!      └──────────────────────────────────────────┘
//!            receive under the next header key: root step, own private key erased
//! ```
//!
//! Two departures from the specification, for the sake of what a thief finds: the new ratchet key is made when
//! sending, not when receiving, so no private key waits in storage for an answer that may never be written;
//! and while there is none, no next header key is tried, so there is nothing that a peer could answer to.
//! The responder's state before its first message is a type of its own ([`RatchetStart`]) without a receiving
//! chain, so an empty chain cannot be used.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use rand::TryCryptoRng;
use serde::{Deserialize, Serialize};

#[cfg(feature = "std")]
use super::header::HeaderKeys;
use super::{
    HeaderKey, MAX_CLOSED_CHAINS, MAX_LATE, MAX_LATE_TURNS, MAX_SKIP, MAX_SKIPPED_KEYS, NextHeaderKey,
    RootKey,
    chain::{Chain, Ec, MessageKey, SkippedRun},
    header::SealedHeader,
};
use crate::{
    Error,
    crypto::{
        dh::{AgreementKey, AgreementPublic},
        kdf::{self, Label},
        random,
        secret::Secret,
        trace,
    },
    wire::header::{HEADER_LEN, Header},
};

mod cold;
mod receipts;

use cold::ClosedChain;
pub(crate) use cold::EcCold;
use receipts::Receipts;

/// What both sides start from.
pub(crate) struct RatchetStart {
    pub(crate) root: RootKey,
    /// Header key of the first chain of the initiator.
    pub(crate) initiator_header_key: NextHeaderKey,
    /// Header key of the first chain of the responder.
    pub(crate) responder_header_key: NextHeaderKey,
}

/// The hot half of the EC ratchet.
#[derive(Serialize, Deserialize)]
pub(crate) struct EcRatchet {
    root: RootKey,
    turn: Turn,
    /// PN: the length of the sending chain before the current one.
    previous_chain_length: u32,
    /// NHKs.
    next_sending_header_key: NextHeaderKey,
    /// NHKr.
    next_receiving_header_key: NextHeaderKey,
    /// None for an initiator without an answer.
    receiving: Option<Box<ReceivingChain>>,
}

/// Whose turn it is to make a new ratchet key.
///
/// Boxed, as [`EcRatchet::receiving`] is: where a variant has no fields, or there is none, there would be whatever was on
/// the stack when it was made, and stay when the rest is wiped.
#[derive(Serialize, Deserialize)]
enum Turn {
    /// Ours, at the next send: the peer's ratchet key is DHr, we have none.
    Received { peer: Box<AgreementPublic> },
    /// The peer's.
    Sending(Box<SendingChain>),
}

/// Our DHs is out, and CKs runs under it.
#[derive(Serialize, Deserialize)]
struct SendingChain {
    own: AgreementKey,
    header_key: HeaderKey,
    chain: Chain<Ec>,
}

/// A receiving chain: HKr, CKr, Nr, and the ratchet key that every header under HKr carries.
#[derive(Serialize, Deserialize)]
struct ReceivingChain {
    /// Counts receiving chains from 0; names this one in the store of skipped keys.
    sequence: u32,
    /// How many messages the peer sent before this chain: so message n is its message start + n.
    start: u64,
    ratchet_key: AgreementPublic,
    header_key: HeaderKey,
    chain: Chain<Ec>,
    receipts: Receipts,
}

/// What the next message of the sending chain is made with.
pub(crate) struct EcOutgoing<'a> {
    pub(crate) ratchet_key: AgreementPublic,
    pub(crate) previous_chain_length: u32,
    pub(crate) message_number: u32,
    pub(crate) message_key: MessageKey<Ec>,
    pub(crate) header_key: &'a HeaderKey,
}

/// Under which key a header opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Current,
    Next,
    /// Index into the closed chains.
    Closed(usize),
}

/// What a message changes in the EC ratchet, once it has authenticated.
pub(crate) struct EcReceipt {
    pub(crate) message_key: MessageKey<Ec>,
    incarnation: u32,
    number: u32,
    change: Change,
}

#[allow(clippy::large_enum_variant, reason = "a box would be freed with a copy of the new keys in it")]
enum Change {
    /// The current chain moves on.
    Advance { chain: Chain<Ec>, skipped: SkippedRun<Ec> },
    /// A missing message has arrived.
    Fill { sequence: u32 },
    /// The peer has made a new ratchet key.
    Turn(NewTurn),
}

/// The rest of a receiving chain when the peer has gone on to another.
enum Ended {
    Skipped(SkippedRun<Ec>),
    Abandoned,
}

struct NewTurn {
    sequence: u32,
    start: u64,
    root: RootKey,
    next_receiving_header_key: NextHeaderKey,
    /// What becomes of the receiving chain that ends, if there is one.
    ended: Option<Ended>,
    previous_chain_length: u32,
    ratchet_key: AgreementPublic,
    chain: Chain<Ec>,
    skipped: SkippedRun<Ec>,
}

/// KDF_RK_HE: (RK, CK, NHK) = HKDF(salt RK, ikm DH output), 96 bytes.
pub(super) fn root_step(root: &RootKey, agreement: &Secret<32>) -> (RootKey, Chain<Ec>, NextHeaderKey) {
    trace!("DH", agreement.as_bytes());
    let derived: Secret<96> = kdf::derive(root.as_bytes(), agreement.as_bytes(), Label::EC_ROOT, [&[], &[]]);
    let [root, chain_key, next_header_key] = kdf::split(&derived);
    trace!("EC root key", root.as_bytes());
    trace!("EC chain key", chain_key.as_bytes());
    trace!("next header key", next_header_key.as_bytes());
    (RootKey::new(root), Chain::new(chain_key), NextHeaderKey::new(next_header_key))
}

impl RatchetStart {
    /// The initiator's ratchet: its first message makes its first ratchet key, against the signed prekey.
    pub(crate) fn initiate(self, signed_prekey: AgreementPublic) -> EcRatchet {
        EcRatchet {
            root: self.root,
            turn: Turn::Received { peer: Box::new(signed_prekey) },
            previous_chain_length: 0,
            next_sending_header_key: self.initiator_header_key,
            next_receiving_header_key: self.responder_header_key,
            receiving: None,
        }
    }

    /// Opens the header of the first message that the responder sees.
    pub(crate) fn open_header(&self, sealed: &SealedHeader<'_>) -> Result<[u8; HEADER_LEN], Error> {
        self.initiator_header_key.open(sealed)
    }

    /// The responder's ratchet, from the first message that it sees. The private half of the signed prekey is
    /// used here and does not become part of the session.
    pub(crate) fn respond(
        self,
        signed_prekey: &AgreementKey,
        header: &Header,
        cold: &mut EcCold,
    ) -> Result<(EcRatchet, MessageKey<Ec>), Error> {
        let (turn, message_key) = NewTurn::new(&self.root, signed_prekey, header, None)?;
        let mut ratchet = EcRatchet {
            root: self.root,
            turn: Turn::Received { peer: Box::new(header.ratchet_key) },
            previous_chain_length: 0,
            next_sending_header_key: self.responder_header_key,
            next_receiving_header_key: self.initiator_header_key,
            receiving: None,
        };
        ratchet.turn(cold, turn);
        ratchet.record(cold, 0, header.message_number, header.incarnation);
        Ok((ratchet, message_key))
    }
}

impl ReceivingChain {
    /// How many messages it has, if the peer says that it has ended with so many.
    fn length(&self, previous_chain_length: u32) -> u32 {
        previous_chain_length.max(self.chain.next())
    }
}

impl EcReceipt {
    /// Why there is no PQ message key for this message, given the PQ ratchet's answer.
    ///
    /// A message that is new to the EC ratchet was made after every one received. If its PQ number in its epoch is
    /// used up all the same, the peer has gone back to a state from before that number, and from there taken a turn.
    pub(crate) fn judge_pq(&self, error: Error) -> Error {
        match (&self.change, error) {
            (Change::Advance { .. } | Change::Turn(_), Error::TooOld) => Error::PeerRolledBack,
            _ => error,
        }
    }
}

impl NewTurn {
    /// Derives the turn that a header under the next header key announces.
    fn new(
        root: &RootKey,
        own: &AgreementKey,
        header: &Header,
        ending: Option<&ReceivingChain>,
    ) -> Result<(Self, MessageKey<Ec>), Error> {
        // A number used for two chains would mix their keys up.
        let sequence = ending.map_or(Some(0), |ending| ending.sequence.checked_add(1));
        let sequence = sequence.ok_or(Error::TooFarAhead)?;
        let (root, chain, next_receiving_header_key) = root_step(root, &own.agree(&header.ratchet_key)?);
        let ahead = chain.look_ahead(header.message_number, MAX_SKIP)?;
        // More would give way to those of the new chain at once.
        let room = MAX_SKIPPED_KEYS.saturating_sub(ahead.skipped.keys.len());
        let ended = ending.map(|ending| {
            ending.chain.skip_to(header.previous_chain_length, MAX_SKIP, room).map_or(
                // Too much to go through: the rest of the chain is given up, the message is not.
                Ended::Abandoned,
                |(_, skipped)| Ended::Skipped(skipped),
            )
        });
        let turn = Self {
            sequence,
            start: ending.map_or(0, |ending| {
                ending.start.saturating_add(ending.length(header.previous_chain_length).into())
            }),
            root,
            next_receiving_header_key,
            ended,
            previous_chain_length: header.previous_chain_length,
            ratchet_key: header.ratchet_key,
            chain: ahead.chain,
            skipped: ahead.skipped,
        };
        Ok((turn, ahead.message_key))
    }
}

impl EcRatchet {
    /// Steps the sending chain, after making a new ratchet key if it is our turn. What fails changes nothing.
    pub(crate) fn send(&mut self, rng: &mut impl TryCryptoRng) -> Result<EcOutgoing<'_>, Error> {
        if let Turn::Received { peer } = &self.turn {
            let seed = random::hedged(rng, self.root.as_bytes(), Label::HEDGED_RATCHET_KEY, peer.as_bytes())?;
            trace!("ratchet private key", seed.as_bytes());
            let own = AgreementKey::from_seed(&seed);
            let (root, chain, next_header_key) = root_step(&self.root, &own.agree(peer)?);
            let header_key =
                core::mem::replace(&mut self.next_sending_header_key, next_header_key).into_header_key();
            self.root = root;
            self.turn = Turn::Sending(Box::new(SendingChain { own, header_key, chain }));
        }
        match &mut self.turn {
            Turn::Received { .. } => Err(Error::CounterExhausted),
            Turn::Sending(sending) => {
                let SendingChain { own, header_key, chain } = &mut **sending;
                let (message_number, message_key) = chain.advance()?;
                Ok(EcOutgoing {
                    ratchet_key: *own.public(),
                    previous_chain_length: self.previous_chain_length,
                    message_number,
                    message_key,
                    header_key,
                })
            }
        }
    }

    /// Finds the key that a header is under: current, next, then closed chains, newest first.
    pub(crate) fn open_header(
        &self,
        cold: &EcCold,
        sealed: &SealedHeader<'_>,
    ) -> Result<(Place, [u8; HEADER_LEN]), Error> {
        if let Some(chain) = &self.receiving
            && let Ok(header) = chain.header_key.open(sealed)
        {
            return Ok((Place::Current, header));
        }
        if let Turn::Sending(_) = &self.turn
            && let Ok(header) = self.next_receiving_header_key.open(sealed)
        {
            return Ok((Place::Next, header));
        }
        let closed = cold.closed.iter().enumerate().rev();
        let mut opened = closed.filter_map(|(index, chain)| {
            chain.header_key.open(sealed).ok().map(|header| (Place::Closed(index), header))
        });
        opened.next().ok_or(Error::UnknownSession)
    }

    /// Copies of the keys that [`Self::open_header`] tries, in its order.
    #[cfg(feature = "std")]
    pub(crate) fn header_keys(&self, cold: &EcCold) -> HeaderKeys {
        let current = self.receiving.iter().map(|chain| chain.header_key.as_bytes());
        let next = match &self.turn {
            Turn::Sending(_) => Some(self.next_receiving_header_key.as_bytes()),
            Turn::Received { .. } => None,
        };
        let closed = cold.closed.iter().rev().map(|chain| chain.header_key.as_bytes());
        HeaderKeys::copy(current.chain(next).chain(closed))
    }

    /// Derives the message key of an authenticated header, and what will change. Changes nothing.
    pub(crate) fn receive(&self, cold: &EcCold, place: Place, header: &Header) -> Result<EcReceipt, Error> {
        let number = header.message_number;
        let (message_key, change) = match place {
            Place::Next => {
                let Turn::Sending(sending) = &self.turn else { return Err(Error::UnknownSession) };
                let ending = self.receiving.as_deref();
                let (turn, message_key) = NewTurn::new(&self.root, &sending.own, header, ending)?;
                (message_key, Change::Turn(turn))
            }
            Place::Current => {
                let chain = self.receiving.as_ref().ok_or(Error::UnknownSession)?;
                check_ratchet_key(&chain.ratchet_key, header)?;
                if number >= chain.chain.next() {
                    let ahead = chain.chain.look_ahead(number, MAX_SKIP)?;
                    (ahead.message_key, Change::Advance { chain: ahead.chain, skipped: ahead.skipped })
                } else {
                    let key = cold.missing(chain.sequence, &chain.receipts, header)?;
                    (key, Change::Fill { sequence: chain.sequence })
                }
            }
            Place::Closed(index) => {
                let chain = cold.closed.get(index).ok_or(Error::UnknownSession)?;
                check_ratchet_key(&chain.ratchet_key, header)?;
                if number >= chain.length {
                    // The peer has said, authenticated, that the chain ended before this message.
                    return Err(Error::PeerRolledBack);
                }
                let key = cold.missing(chain.sequence, &chain.receipts, header)?;
                (key, Change::Fill { sequence: chain.sequence })
            }
        };
        Ok(EcReceipt { message_key, incarnation: header.incarnation, number, change })
    }

    /// Of the messages that were sent before the one received and have a key here, or will by its receipt: how many messages
    /// before it, farthest first. It is the same count in a PQ epoch.
    pub(crate) fn missing_before(&self, cold: &EcCold, receipt: &EcReceipt) -> Vec<u64> {
        let at = |start: u64, number: u32| start.saturating_add(number.into());
        let closed = cold.closed.iter().map(|chain| (chain.sequence, chain.start));
        let current = self.receiving.as_ref().map(|chain| (chain.sequence, chain.start));
        let chains = || closed.clone().chain(current);
        let keys = chains().flat_map(|(chain, start)| cold.keys.numbers(chain).map(move |n| at(start, n)));
        let mut sent: Vec<u64> = keys.collect();
        let start = match &receipt.change {
            Change::Fill { sequence } => {
                chains().find(|(chain, _)| chain == sequence).map(|(_, start)| start)
            }
            Change::Advance { skipped, .. } => {
                let start = current.map_or(0, |(_, start)| start);
                sent.extend(skipped.keys.iter().map(|(number, _)| at(start, *number)));
                Some(start)
            }
            Change::Turn(turn) => {
                if let (Some((_, start)), Some(Ended::Skipped(rest))) = (current, &turn.ended) {
                    sent.extend(rest.keys.iter().map(|(number, _)| at(start, *number)));
                }
                sent.extend(turn.skipped.keys.iter().map(|(number, _)| at(turn.start, *number)));
                Some(turn.start)
            }
        };
        let this = at(start.unwrap_or(0), receipt.number);
        sent.into_iter().filter_map(|sent| this.checked_sub(sent)).filter(|before| *before > 0).collect()
    }

    /// Puts a receipt into force. Whether the cold half has changed.
    pub(crate) fn commit(&mut self, cold: &mut EcCold, receipt: EcReceipt) -> bool {
        let (sequence, cold_changed) = match receipt.change {
            Change::Fill { sequence } => {
                cold.keys.remove(sequence, receipt.number);
                (sequence, true)
            }
            Change::Advance { chain, skipped } => {
                let Some(receiving) = &mut self.receiving else { return false };
                receiving.chain = chain;
                let (sequence, any) = (receiving.sequence, !skipped.keys.is_empty());
                if any {
                    self.keep(cold, sequence, skipped);
                }
                (sequence, any)
            }
            Change::Turn(turn) => self.turn(cold, turn),
        };
        self.record(cold, sequence, receipt.number, receipt.incarnation);
        let expired = self.expire(cold);
        cold.drop_complete();
        cold_changed || expired
    }

    /// Drops the keys of what is too late. Whether there were any.
    fn expire(&mut self, cold: &mut EcCold) -> bool {
        let Some(current) = &mut self.receiving else { return false };
        let EcCold { keys, closed } = cold;
        let kept_from = current.chain.next().saturating_sub(MAX_LATE);
        let is_late = |chain: &ClosedChain| {
            kept_from > 0 || current.sequence.saturating_sub(chain.sequence) > MAX_LATE_TURNS
        };
        let mut any = false;
        while let Some(oldest) = closed.pop_front_if(|oldest| is_late(oldest)) {
            keys.remove_chain(oldest.sequence);
            any = true;
        }
        if let Some(last) = keys.remove_below(current.sequence, kept_from) {
            current.receipts.forget_below(last.saturating_add(1));
            any = true;
        }
        any
    }

    /// The peer's turn is over: its chain, and room for ours.
    fn turn(&mut self, cold: &mut EcCold, new: NewTurn) -> (u32, bool) {
        let mut cold_changed = false;
        let sequence = new.sequence;
        if let (Some(ending), Some(ended)) = (self.receiving.take(), new.ended) {
            cold_changed = self.close(cold, ending, ended, new.previous_chain_length);
        }
        self.root = new.root;
        let next = core::mem::replace(&mut self.next_receiving_header_key, new.next_receiving_header_key);
        if let Turn::Sending(sending) = &self.turn {
            self.previous_chain_length = sending.chain.next();
        }
        self.turn = Turn::Received { peer: Box::new(new.ratchet_key) };
        self.receiving = Some(Box::new(ReceivingChain {
            sequence,
            start: new.start,
            ratchet_key: new.ratchet_key,
            header_key: next.into_header_key(),
            chain: new.chain,
            receipts: Receipts::default(),
        }));
        if !new.skipped.keys.is_empty() {
            self.keep(cold, sequence, new.skipped);
            cold_changed = true;
        }
        (sequence, cold_changed)
    }

    /// Ends a receiving chain: keeps its header key if messages of it are missing.
    #[allow(clippy::boxed_local, reason = "it is wiped where it is")]
    fn close(
        &mut self,
        cold: &mut EcCold,
        mut ending: Box<ReceivingChain>,
        ended: Ended,
        length: u32,
    ) -> bool {
        let sequence = ending.sequence;
        let whole = ending.length(length);
        let mut receipts = core::mem::take(&mut ending.receipts);
        let rest = match ended {
            Ended::Skipped(rest) => Some(rest).filter(|rest| !rest.keys.is_empty()),
            Ended::Abandoned => {
                receipts.forget_below(length);
                None
            }
        };
        if rest.is_none() && !cold.keys.has(sequence) {
            return false;
        }
        // Replaced, not moved out: the box is wiped when it goes.
        let header_key = core::mem::replace(&mut ending.header_key, HeaderKey::new(Secret::zeroed()));
        cold.closed.push_back(Box::new(ClosedChain {
            sequence,
            start: ending.start,
            ratchet_key: ending.ratchet_key,
            header_key,
            length: whole,
            receipts,
        }));
        if let Some(rest) = rest {
            self.keep(cold, sequence, rest);
        }
        while cold.closed.len() > MAX_CLOSED_CHAINS {
            if let Some(oldest) = cold.closed.pop_front() {
                cold.keys.remove_chain(oldest.sequence);
            }
        }
        true
    }

    /// Stores keys of missing messages.
    fn keep(&mut self, cold: &mut EcCold, sequence: u32, skipped: SkippedRun<Ec>) {
        let EcCold { keys, closed } = cold;
        if let (Some(below), Some(receipts)) =
            (skipped.dropped_below, receipts(&mut self.receiving, closed, sequence))
        {
            receipts.forget_below(below);
        }
        keys.insert(sequence, skipped, |sequence, number| {
            if let Some(receipts) = receipts(&mut self.receiving, closed, sequence) {
                receipts.forget_below(number.saturating_add(1));
            }
        });
    }

    /// Notes number and incarnation of a received message of a chain.
    fn record(&mut self, cold: &mut EcCold, sequence: u32, number: u32, incarnation: u32) {
        if let Some(receipts) = receipts(&mut self.receiving, &mut cold.closed, sequence) {
            receipts.record(number, incarnation);
        }
    }
}

/// What a chain, current or closed, remembers.
fn receipts<'a>(
    receiving: &'a mut Option<Box<ReceivingChain>>,
    closed: &'a mut VecDeque<Box<ClosedChain>>,
    sequence: u32,
) -> Option<&'a mut Receipts> {
    match receiving {
        Some(chain) if chain.sequence == sequence => Some(&mut chain.receipts),
        _ => closed.iter_mut().find(|chain| chain.sequence == sequence).map(|chain| &mut chain.receipts),
    }
}

/// One header key goes with one ratchet key. Another one under it comes from a peer that has gone back in time
/// and made its turn once more.
fn check_ratchet_key(expected: &AgreementPublic, header: &Header) -> Result<(), Error> {
    if expected == &header.ratchet_key { Ok(()) } else { Err(Error::PeerRolledBack) }
}

/// What a malicious peer may do to its own side, and what tests look at.
#[cfg(test)]
impl EcRatchet {
    /// Every header key that is in the state: of what is received, of what is sent; current, next and closed chains.
    pub(crate) fn all_header_keys(&self, cold: &EcCold) -> Vec<[u8; 32]> {
        let mut keys =
            Vec::from([*self.next_receiving_header_key.as_bytes(), *self.next_sending_header_key.as_bytes()]);
        keys.extend(self.receiving.iter().map(|chain| *chain.header_key.as_bytes()));
        keys.extend(cold.closed.iter().map(|chain| *chain.header_key.as_bytes()));
        if let Turn::Sending(sending) = &self.turn {
            keys.push(*sending.header_key.as_bytes());
        }
        keys
    }

    /// Makes the next message begin another chain, though the peer has not answered.
    pub(crate) fn turn_again(&mut self) {
        let peer = self.receiving.as_ref().unwrap().ratchet_key;
        self.turn = Turn::Received { peer: Box::new(peer) };
    }

    /// Moves the sending chain to a number, with a key of its own.
    pub(crate) fn set_sending_number(&mut self, number: u32) {
        if let Turn::Sending(sending) = &mut self.turn {
            sending.chain = Chain::at([1; 32], number);
        }
    }

    /// Makes the receiving chain one of the last.
    pub(crate) fn set_receiving_sequence(&mut self, sequence: u32) {
        self.receiving.as_mut().unwrap().sequence = sequence;
    }

    /// Whether there is a private ratchet key to steal.
    pub(crate) fn holds_private_key(&self) -> bool {
        matches!(self.turn, Turn::Sending(_))
    }

    /// Header and message key of a message of this side's, in the current chain.
    pub(crate) fn open_own(
        &self,
        sealed: &SealedHeader<'_>,
    ) -> Result<([u8; HEADER_LEN], MessageKey<Ec>), Error> {
        let Turn::Sending(sending) = &self.turn else { return Err(Error::UnknownSession) };
        let header = sending.header_key.open(sealed)?;
        Ok((header, sending.chain.stolen_key(Header::from_bytes(&header)?.message_number)?))
    }

    /// Asks for a key of a receiving chain that does not exist.
    pub(crate) fn receive_without_chain(&self, header: &Header) -> Error {
        assert!(self.receiving.is_none());
        let cold = EcCold::default();
        let places = [Place::Current, Place::Next, Place::Closed(0)];
        let errors = places.map(|place| self.receive(&cold, place, header).err().unwrap());
        assert_eq!(errors, [errors[0]; 3]);
        errors[0]
    }
}

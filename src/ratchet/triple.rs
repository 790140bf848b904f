//! The triple ratchet: both ratchets in parallel, one body key out of both (Double Ratchet, revision 4,
//! section 6), and the message that is sealed with it.
//!
//! ```text
//! body key             = HMAC(key PQ message key, EC message key | "message" | header)
//! body associated data = session associated data | header
//! ```
//!
//! The header is part of the derivation, so two messages with the same chain keys (a state that was rolled
//! back) still have different keys: their incarnation differs.

#[cfg(test)]
mod recording;
#[cfg(test)]
pub(crate) mod thief;

use alloc::{boxed::Box, vec::Vec};

use rand::TryCryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

#[cfg(feature = "std")]
use super::header::HeaderKeys;
use super::{
    MAX_SKIPPED_KEYS,
    braid::Room,
    chain::{Ec, MessageKey, Pq},
    ec::{EcCold, EcRatchet, EcReceipt, RatchetStart},
    header::SealedHeader,
    pq::{PqCold, PqRatchet, PqReceipt, Role},
};
use crate::{
    Error, Padding,
    crypto::{
        aead::{self, TAG_LEN},
        dh::{AgreementKey, AgreementPublic},
        kdf::{self, Label},
        secret::Secret,
        trace,
    },
    handshake::SessionSecrets,
    wire::{
        body::{self, Codewords},
        header::{HEADER_LEN, Header, SEALED_HEADER_LEN},
        message::Message,
    },
};

/// The hot half: everything that sending and in-order receiving need.
#[derive(Serialize, Deserialize)]
pub(crate) struct TripleRatchet {
    ec: EcRatchet,
    pq: PqRatchet,
}

/// The cold half: what is kept for messages that have not arrived.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Cold {
    ec: EcCold,
    pq: PqCold,
}

/// What a message changes, once it has authenticated.
pub(crate) struct Receipt {
    ec: EcReceipt,
    pq: PqReceipt,
    codewords: Option<Codewords>,
}

/// What a message is sealed with besides the ratchet.
pub(crate) struct Envelope<'a> {
    /// Every byte before the header.
    pub(crate) prefix: &'a [&'a [u8]],
    /// h2 of the handshake.
    pub(crate) associated_data: &'a [u8; 32],
    pub(crate) incarnation: u32,
    pub(crate) padding: Padding,
    /// A length of the body that it is padded to at least, if it is padded.
    pub(crate) least: usize,
}

impl TripleRatchet {
    pub(crate) fn initiate(secrets: SessionSecrets, signed_prekey: AgreementPublic) -> Self {
        let pq = PqRatchet::start(&secrets.pq_secret, Role::Initiator);
        Self { ec: start(secrets).initiate(signed_prekey), pq }
    }

    /// The responder's ratchet, out of the first message that it sees: the content comes with it.
    pub(crate) fn respond(
        secrets: SessionSecrets,
        signed_prekey: &AgreementKey,
        message: &Message<'_>,
    ) -> Result<(Self, Box<Cold>, Vec<u8>), Error> {
        let associated_data = secrets.associated_data;
        let mut pq = PqRatchet::start(&secrets.pq_secret, Role::Responder);
        let start = start(secrets);
        let mut cold = Box::<Cold>::default();
        let header_bytes = start.open_header(&SealedHeader::of(message)?)?;
        let header = Header::from_bytes(&header_bytes)?;
        // Nothing but this function sees the new session before the body has opened.
        let (ec, ec_key) = start.respond(signed_prekey, &header, &mut cold.ec)?;
        // An initiator stays in epoch 0, and its two chains go at one pace, until they are answered. So a stranger's
        // skip costs no more PQ steps than EC steps, which are bounded lower.
        if header.pq_epoch != 0 || header.pq_message_number != header.message_number {
            return Err(Error::Malformed);
        }
        let pq_receipt = pq.receive(&cold.pq, &header, all_before)?;
        let key = MessageSecrets::derive(&ec_key, &pq_receipt.message_key, &header_bytes);
        let mut content = Vec::new();
        let mut codewords = None;
        key.open(&associated_data, &header_bytes, message.body, &mut content, &mut codewords)?;
        pq.commit(&mut cold.pq, pq_receipt, codewords.as_ref(), cold.ec.missing_count());
        Ok((Self { ec, pq }, cold, content))
    }

    /// Seals content into a message, which replaces what is in `out`. On failure nothing has changed, and `out` is empty.
    pub(crate) fn seal(
        &mut self,
        envelope: &Envelope<'_>,
        content: &[u8],
        rng: &mut impl TryCryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.seal_altered(envelope, content, rng, out, |_, _| {}, |_| {})
    }

    /// [`Self::seal`] with a header and codewords that a malicious peer has altered before they were used, and a body before it was
    /// sealed: for tests.
    fn seal_altered(
        &mut self,
        envelope: &Envelope<'_>,
        content: &[u8],
        rng: &mut impl TryCryptoRng,
        out: &mut Vec<u8>,
        alter: impl FnOnce(&mut [u8; HEADER_LEN], &mut Option<Codewords>),
        alter_body: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        out.clear();
        let room = envelope.padding.room(content.len(), envelope.least)?;
        self.pq.check()?;
        let randomness = self.pq.prepare(rng)?;
        // The last that can fail, and then without a change.
        let ec = self.ec.send(rng)?;
        let mut codewords = None;
        let pq = self.pq.send(randomness, Room { count: room, place: &mut codewords })?;
        let header = Header {
            ratchet_key: ec.ratchet_key,
            previous_chain_length: ec.previous_chain_length,
            message_number: ec.message_number,
            pq_epoch: pq.epoch,
            pq_message_number: pq.number,
            incarnation: envelope.incarnation,
        };
        let mut header_bytes = header.to_bytes();
        alter(&mut header_bytes, &mut codewords);
        let codewords = codewords.as_ref();
        let key = MessageSecrets::derive(&ec.message_key, &pq.message_key, &header_bytes);
        trace!("header key", ec.header_key.as_bytes());
        trace!("header", &header_bytes);

        let prefix_len: usize = envelope.prefix.iter().map(|part| part.len()).sum();
        let body_start = prefix_len + SEALED_HEADER_LEN;
        let body_len = body::encoded_len(content.len(), envelope.padding, envelope.least, codewords);
        make_room(out, body_start + body_len + TAG_LEN);
        envelope.prefix.iter().for_each(|part| out.extend_from_slice(part));
        out.resize(body_start, 0);
        body::encode(content, body_len, codewords, out);
        alter_body(out.get_mut(body_start..).unwrap_or_default());
        key.seal(envelope.associated_data, &header_bytes, out, body_start);
        #[allow(clippy::expect_used, reason = "a sealed body has at least 32 bytes")]
        let nonce = *out.last_chunk().expect("at least 24 bytes");
        if let Some((prefix, rest)) = out.split_at_mut_checked(prefix_len)
            && let Some(place) = rest.first_chunk_mut()
        {
            *place = ec.header_key.seal(&header_bytes, prefix, &nonce);
        }
        Ok(())
    }

    /// Authenticates and decrypts a message; its content replaces what is in `content`. Changes nothing: the receipt does,
    /// when committed.
    ///
    /// # Errors
    /// [`Error::UnknownSession`] if no header key fits; after that, every error is final for the message. Then `content`
    /// is empty.
    pub(crate) fn open(
        &self,
        cold: &Cold,
        message: &Message<'_>,
        associated_data: &[u8; 32],
        content: &mut Vec<u8>,
    ) -> Result<Receipt, Error> {
        content.clear();
        let (place, header_bytes) = self.ec.open_header(&cold.ec, &SealedHeader::of(message)?)?;
        let header = Header::from_bytes(&header_bytes)?;
        let ec = self.ec.receive(&cold.ec, place, &header)?;
        let pq = self.pq.receive(&cold.pq, &header, || self.ec.missing_before(&cold.ec, &ec));
        let pq = pq.map_err(|error| ec.judge_pq(error))?;
        let key = MessageSecrets::derive(&ec.message_key, &pq.message_key, &header_bytes);
        let mut receipt = Receipt { ec, pq, codewords: None };
        key.open(associated_data, &header_bytes, message.body, content, &mut receipt.codewords)?;
        Ok(receipt)
    }

    /// Puts a receipt into force. Whether the cold half has changed.
    pub(crate) fn commit(&mut self, cold: &mut Cold, receipt: Receipt) -> bool {
        let ec_changed = self.ec.commit(&mut cold.ec, receipt.ec);
        let (missing, codewords) = (cold.ec.missing_count(), receipt.codewords.as_ref());
        let pq_changed = self.pq.commit(&mut cold.pq, receipt.pq, codewords, missing);
        ec_changed || pq_changed
    }

    /// Copies of the keys that headers are tried with.
    #[cfg(feature = "std")]
    pub(crate) fn header_keys(&self, cold: &Cold) -> HeaderKeys {
        self.ec.header_keys(&cold.ec)
    }

    /// The epoch of the PQ ratchet that this side sends in.
    pub(crate) fn pq_epoch(&self) -> u32 {
        self.pq.epoch()
    }

    /// Whether the PQ ratchet has ended.
    pub(crate) fn pq_has_failed(&self) -> bool {
        self.pq.has_failed()
    }
}

/// How many messages before it those were sent that have EC keys, where all have that the EC ratchet keeps: the newest.
fn all_before() -> Vec<u64> {
    (1..=MAX_SKIPPED_KEYS as u64).rev().collect()
}

fn start(secrets: SessionSecrets) -> RatchetStart {
    RatchetStart {
        root: secrets.ec_root,
        initiator_header_key: secrets.initiator_header_key,
        responder_header_key: secrets.responder_header_key,
    }
}

/// The body key of one message: used once, so the nonce says nothing.
struct MessageSecrets(Secret<32>);

const BODY_NONCE: [u8; 12] = [0; _];

impl MessageSecrets {
    /// KDF_HYBRID.
    fn derive(ec: &MessageKey<Ec>, pq: &MessageKey<Pq>, header: &[u8; HEADER_LEN]) -> Self {
        trace!("EC message key", ec.as_bytes());
        trace!("PQ message key", pq.as_bytes());
        let key = kdf::mac(pq.as_bytes(), &[ec.as_bytes(), Label::MESSAGE.as_bytes(), header]);
        trace!("body key", key.as_bytes());
        Self(key)
    }

    fn key(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Encrypts everything of `out` from `start` on, and appends the tag.
    fn seal(&self, session: &[u8; 32], header: &[u8; HEADER_LEN], out: &mut Vec<u8>, start: usize) {
        let (_, body) = out.split_at_mut(start);
        let tag = aead::seal(self.key(), &BODY_NONCE, &associated_data(session, header), body);
        out.extend_from_slice(&tag);
    }

    fn open(
        &self,
        session: &[u8; 32],
        header: &[u8; HEADER_LEN],
        body: &[u8],
        content: &mut Vec<u8>,
        codewords: &mut Option<Codewords>,
    ) -> Result<(), Error> {
        let (encrypted, tag) = body.split_last_chunk().ok_or(Error::Malformed)?;
        make_room(content, encrypted.len());
        content.resize(encrypted.len(), 0);
        let associated_data = associated_data(session, header);
        let opened = aead::open_into(self.key(), &BODY_NONCE, &associated_data, encrypted, tag, content);
        opened.inspect_err(|_| content.clear())?;
        body::decode(content, codewords)
    }
}

/// Empties a buffer that will get `len` bytes of plaintext: it must not grow, which would leave some behind. What was in
/// it is wiped if it has to go.
fn make_room(buffer: &mut Vec<u8>, len: usize) {
    if buffer.capacity() < len {
        buffer.zeroize();
        buffer.reserve_exact(len);
    } else {
        buffer.clear();
    }
}

/// Session associated data | header: 84 bytes.
fn associated_data(session: &[u8; 32], header: &[u8; HEADER_LEN]) -> [u8; 32 + HEADER_LEN] {
    let mut joined = [0; _];
    let (first, second) = joined.split_at_mut(32);
    first.copy_from_slice(session);
    second.copy_from_slice(header);
    joined
}

#[cfg(test)]
impl MessageSecrets {
    /// [`Self::open`] into a buffer of its own.
    fn opened(
        &self,
        session: &[u8; 32],
        header: &[u8; HEADER_LEN],
        body: &[u8],
    ) -> Result<(Vec<u8>, Option<Codewords>), Error> {
        let mut content = Vec::new();
        let mut codewords = None;
        self.open(session, header, body, &mut content, &mut codewords)?;
        Ok((content, codewords))
    }
}

/// What a malicious peer may do to its own side.
#[cfg(test)]
impl TripleRatchet {
    pub(crate) fn seal_hostile(
        &mut self,
        envelope: &Envelope<'_>,
        content: &[u8],
        rng: &mut impl TryCryptoRng,
        alter: impl FnOnce(&mut [u8; HEADER_LEN], &mut Option<Codewords>),
        alter_body: impl FnOnce(&mut [u8]),
    ) -> Vec<u8> {
        let mut message = Vec::new();
        self.seal_altered(envelope, content, rng, &mut message, alter, alter_body).unwrap();
        message
    }

    pub(crate) fn ec(&mut self) -> &mut EcRatchet {
        &mut self.ec
    }

    pub(crate) fn newest_pq_epoch(&self) -> u32 {
        self.pq.newest_epoch()
    }

    pub(crate) fn pq(&mut self) -> &mut PqRatchet {
        &mut self.pq
    }
}

impl Cold {
    /// Whether there is a key of a message that has not arrived.
    pub(crate) fn has_missing(&self) -> bool {
        self.ec.missing_count() > 0
    }
}

#[cfg(test)]
impl Cold {
    /// The state that takes the most bytes.
    pub(crate) fn largest() -> Self {
        Self { ec: EcCold::largest(), pq: PqCold::largest() }
    }
}

//! The half of the Braid that receives a public key and encapsulates to it.

#![allow(
    clippy::boxed_local,
    reason = "a state is wiped where it is; moved out of its box, it would leave a copy there"
)]

use alloc::{boxed::Box, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    Braid, BraidKem, Output, Room,
    authenticator::{Epoch, authenticated},
    erasure::{Decoder, Encoder},
    material::Encapsulating,
    send_ek::KeysUnsampled,
};
use crate::{
    crypto::{secret::Secret, trace},
    wire::body::{CodewordKind, Codewords},
};

/// The header of the peer's key comes in.
#[derive(Serialize, Deserialize)]
pub(crate) struct NoHeaderReceived {
    pub(super) epoch: Epoch,
    header: Decoder,
}

/// The header is there: the next message encapsulates to it.
#[derive(Serialize, Deserialize)]
pub(crate) struct HeaderReceived {
    pub(super) epoch: Epoch,
    header: Vec<u8>,
}

/// The first half of the ciphertext is being sent, the vector comes in.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Ct1Sampled<K: BraidKem> {
    pub(super) epoch: Epoch,
    encapsulating: Encapsulating<K>,
    encoder: Encoder,
    vector: Decoder,
}

/// The vector is there and used; the peer does not have the first half of the ciphertext yet.
#[derive(Serialize, Deserialize)]
pub(crate) struct EkReceivedCt1Sampled {
    pub(super) epoch: Epoch,
    ct1: Vec<u8>,
    encoder: Encoder,
    /// The second half and its MAC.
    ct2: Vec<u8>,
}

/// The peer has the first half; the vector comes in.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Ct1Acknowledged<K: BraidKem> {
    pub(super) epoch: Epoch,
    encapsulating: Encapsulating<K>,
    vector: Decoder,
}

/// The second half of the ciphertext is being sent.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ct2Sampled {
    pub(super) epoch: Epoch,
    /// The second half and its MAC.
    ct2: Vec<u8>,
    encoder: Encoder,
}

impl NoHeaderReceived {
    pub(super) fn begin<K: BraidKem>(epoch: Option<Epoch>) -> Braid<K> {
        epoch.map_or(Braid::Failed, |epoch| {
            Braid::NoHeaderReceived(Box::new(Self { epoch, header: Decoder::default() }))
        })
    }

    /// (6) when the header is complete and authentic.
    pub(super) fn receive<K: BraidKem>(mut self: Box<Self>, received: &Codewords) -> Braid<K> {
        if received.kind != CodewordKind::Header {
            return Braid::NoHeaderReceived(self);
        }
        let Some(value) = self.header.collect(&K::HEADER, &received.words) else {
            return Braid::NoHeaderReceived(self);
        };
        match authenticated(&value, |header| self.epoch.header_mac(header)) {
            Some(header) => {
                Braid::HeaderReceived(Box::new(HeaderReceived { epoch: self.epoch, header: header.to_vec() }))
            }
            None => Braid::Failed,
        }
    }
}

impl HeaderReceived {
    /// (7) Encapsulates: the epoch's key.
    pub(super) fn send<K: BraidKem>(
        mut self: Box<Self>,
        coins: Secret<32>,
    ) -> Option<(Box<Ct1Sampled<K>>, Output)> {
        trace!("KEM coins", coins.as_bytes());
        let (encapsulating, shared) = Encapsulating::new(self.header, coins)?;
        let key = self.epoch.key(&shared);
        self.epoch.update(&key);
        let output = Output { epoch: self.epoch.number, key };
        let next = Ct1Sampled {
            epoch: self.epoch,
            encapsulating,
            encoder: Encoder::default(),
            vector: Decoder::default(),
        };
        Some((Box::new(next), output))
    }
}

/// Uses a complete vector: both halves of the ciphertext, the second with its MAC. None if the vector is not the
/// header's, or not a key at all.
fn second_half<K: BraidKem>(
    epoch: &Epoch,
    encapsulating: &mut Encapsulating<K>,
    vector: &[u8],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (ct1, mut ct2) = encapsulating.finish(vector)?;
    trace!("KEM ct1", &ct1);
    trace!("KEM ct2", &ct2);
    let mac = epoch.ciphertext_mac(&ct1, &ct2);
    trace!("KEM ciphertext MAC", &mac);
    ct2.extend_from_slice(&mac);
    Some((ct1, ct2))
}

impl<K: BraidKem> Ct1Sampled<K> {
    pub(super) fn send(&mut self, room: &mut Room<'_>) {
        if let Some(ct1) = self.encapsulating.ct1() {
            room.fill(&K::CT1, CodewordKind::Ct1, ct1, &mut self.encoder);
        }
    }

    /// (8) The peer has the first half; (10) the vector is complete; (9) both.
    pub(super) fn receive(mut self: Box<Self>, received: &Codewords) -> Braid<K> {
        let acknowledged = match received.kind {
            CodewordKind::Vector => false,
            CodewordKind::VectorAck => true,
            _ => return Braid::Ct1Sampled(self),
        };
        match (self.vector.collect(&K::VECTOR, &received.words), acknowledged) {
            (None, false) => Braid::Ct1Sampled(self),
            (None, true) => {
                let Self { epoch, encapsulating, vector, .. } = *self;
                Braid::Ct1Acknowledged(Box::new(Ct1Acknowledged { epoch, encapsulating, vector }))
            }
            (Some(vector), _) => match second_half(&self.epoch, &mut self.encapsulating, &vector) {
                None => Braid::Failed,
                Some((_, ct2)) if acknowledged => Ct2Sampled::begin(self.epoch, ct2),
                Some((ct1, ct2)) => Braid::EkReceivedCt1Sampled(Box::new(EkReceivedCt1Sampled {
                    epoch: self.epoch,
                    ct1,
                    encoder: self.encoder,
                    ct2,
                })),
            },
        }
    }
}

impl EkReceivedCt1Sampled {
    pub(super) fn send<K: BraidKem>(&mut self, room: &mut Room<'_>) {
        room.fill(&K::CT1, CodewordKind::Ct1, &self.ct1, &mut self.encoder);
    }

    /// (12) The peer has the first half.
    pub(super) fn receive<K: BraidKem>(self: Box<Self>, received: &Codewords) -> Braid<K> {
        match received.kind {
            CodewordKind::VectorAck => Ct2Sampled::begin(self.epoch, self.ct2),
            _ => Braid::EkReceivedCt1Sampled(self),
        }
    }
}

impl<K: BraidKem> Ct1Acknowledged<K> {
    /// (11) when the vector is complete. Codewords sent before the acknowledgement count as well.
    pub(super) fn receive(mut self: Box<Self>, received: &Codewords) -> Braid<K> {
        if !matches!(received.kind, CodewordKind::Vector | CodewordKind::VectorAck) {
            return Braid::Ct1Acknowledged(self);
        }
        let Some(vector) = self.vector.collect(&K::VECTOR, &received.words) else {
            return Braid::Ct1Acknowledged(self);
        };
        match second_half(&self.epoch, &mut self.encapsulating, &vector) {
            Some((_, ct2)) => Ct2Sampled::begin(self.epoch, ct2),
            None => Braid::Failed,
        }
    }
}

impl Ct2Sampled {
    fn begin<K: BraidKem>(epoch: Epoch, ct2: Vec<u8>) -> Braid<K> {
        Braid::Ct2Sampled(Box::new(Self { epoch, ct2, encoder: Encoder::default() }))
    }

    pub(super) fn send<K: BraidKem>(&mut self, room: &mut Room<'_>) {
        room.fill(&K::CT2, CodewordKind::Ct2, &self.ct2, &mut self.encoder);
    }

    /// (13) The peer is in the next epoch: it has the key, and it is our turn to make a key pair.
    pub(super) fn finish<K: BraidKem>(self: Box<Self>) -> Braid<K> {
        let next = self.epoch.next();
        next.map_or(Braid::Failed, |epoch| Braid::KeysUnsampled(Box::new(KeysUnsampled { epoch })))
    }
}

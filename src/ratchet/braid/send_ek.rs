//! The half of the Braid that makes a key pair, sends its public part, and decapsulates.

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
    material::Keys,
    send_ct::NoHeaderReceived,
};
use crate::{
    crypto::{secret::Secret, trace},
    wire::body::{CodewordKind, Codewords},
};

/// There is no key pair yet: the next message makes one.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeysUnsampled {
    pub(super) epoch: Epoch,
}

/// The header is being sent.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct KeysSampled<K: BraidKem> {
    pub(super) epoch: Epoch,
    keys: Keys<K>,
    encoder: Encoder,
    /// The header and its MAC: computed when first needed.
    #[serde(skip)]
    header: Vec<u8>,
}

/// The peer has the header; the vector is being sent, the first half of the ciphertext comes in.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct HeaderSent<K: BraidKem> {
    pub(super) epoch: Epoch,
    keys: Keys<K>,
    encoder: Encoder,
    ct1: Decoder,
}

/// The first half of the ciphertext is there, which every codeword of the vector says.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Ct1Received<K: BraidKem> {
    pub(super) epoch: Epoch,
    keys: Keys<K>,
    encoder: Encoder,
    ct1: Vec<u8>,
}

/// The peer has the vector; the second half of the ciphertext comes in.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct EkSentCt1Received<K: BraidKem> {
    pub(super) epoch: Epoch,
    keys: Keys<K>,
    ct1: Vec<u8>,
    ct2: Decoder,
}

impl KeysUnsampled {
    /// (1) Makes the key pair.
    pub(super) fn send<K: BraidKem>(self: Box<Self>, seed: Secret<64>) -> Box<KeysSampled<K>> {
        trace!("KEM seed", seed.as_bytes());
        Box::new(KeysSampled {
            epoch: self.epoch,
            keys: Keys::new(seed),
            encoder: Encoder::default(),
            header: Vec::new(),
        })
    }
}

impl<K: BraidKem> KeysSampled<K> {
    pub(super) fn send(&mut self, room: &mut Room<'_>) {
        if self.header.is_empty() {
            let header = K::header(self.keys.get());
            let mac = self.epoch.header_mac(header);
            #[cfg(test)]
            if self.encoder.is_new() {
                trace!("KEM header", header);
                trace!("KEM header MAC", &mac);
            }
            self.header = [header, &mac].concat();
        }
        room.fill(&K::HEADER, CodewordKind::Header, &self.header, &mut self.encoder);
    }

    /// (2) The peer encapsulates, so it has the header.
    pub(super) fn receive(self: Box<Self>, received: &Codewords) -> Braid<K> {
        if received.kind != CodewordKind::Ct1 {
            return Braid::KeysSampled(self);
        }
        let Self { epoch, keys, .. } = *self;
        let next = HeaderSent { epoch, keys, encoder: Encoder::default(), ct1: Decoder::default() };
        Box::new(next).receive(received)
    }
}

impl<K: BraidKem> HeaderSent<K> {
    pub(super) fn send(&mut self, room: &mut Room<'_>) {
        room.fill(&K::VECTOR, CodewordKind::Vector, K::vector(self.keys.get()), &mut self.encoder);
    }

    /// (3) when the first half of the ciphertext is complete.
    pub(super) fn receive(mut self: Box<Self>, received: &Codewords) -> Braid<K> {
        if received.kind != CodewordKind::Ct1 {
            return Braid::HeaderSent(self);
        }
        match self.ct1.collect(&K::CT1, &received.words) {
            None => Braid::HeaderSent(self),
            Some(ct1) => Braid::Ct1Received(Box::new(Ct1Received {
                epoch: self.epoch,
                keys: self.keys,
                encoder: self.encoder,
                ct1,
            })),
        }
    }
}

impl<K: BraidKem> Ct1Received<K> {
    pub(super) fn send(&mut self, room: &mut Room<'_>) {
        room.fill(&K::VECTOR, CodewordKind::VectorAck, K::vector(self.keys.get()), &mut self.encoder);
    }

    /// (4) The peer has gone on to the second half, so it has the vector.
    pub(super) fn receive(self: Box<Self>, received: &Codewords) -> (Braid<K>, Option<Output>) {
        if received.kind != CodewordKind::Ct2 {
            return (Braid::Ct1Received(self), None);
        }
        let Self { epoch, keys, ct1, .. } = *self;
        Box::new(EkSentCt1Received { epoch, keys, ct1, ct2: Decoder::default() }).receive(received)
    }
}

impl<K: BraidKem> EkSentCt1Received<K> {
    /// (5) when the second half is complete: the epoch's key, and the peer's turn to make a key pair.
    pub(super) fn receive(mut self: Box<Self>, received: &Codewords) -> (Braid<K>, Option<Output>) {
        if received.kind != CodewordKind::Ct2 {
            return (Braid::EkSentCt1Received(self), None);
        }
        let Some(ct2) = self.ct2.collect(&K::CT2, &received.words) else {
            return (Braid::EkSentCt1Received(self), None);
        };
        self.finish(&ct2).map_or((Braid::Failed, None), |(next, output)| (next, Some(output)))
    }

    fn finish(mut self: Box<Self>, ct2: &[u8]) -> Option<(Braid<K>, Output)> {
        // The MAC comes after the half of the ciphertext, and its key out of the secret.
        let (half, _) = ct2.split_last_chunk::<{ super::authenticator::MAC_LEN }>()?;
        let shared = K::decapsulate(self.keys.get(), &self.ct1, half).ok()?;
        let key = self.epoch.key(&shared);
        self.epoch.update(&key);
        authenticated(ct2, |half| self.epoch.ciphertext_mac(&self.ct1, half))?;
        let output = Output { epoch: self.epoch.number, key };
        Some((NoHeaderReceived::begin(self.epoch.next()), output))
    }
}

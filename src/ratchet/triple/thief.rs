//! What can be done with a copied state and keys that somebody has come by: for the tests of who reads what.

use super::*;
use crate::ratchet::HeaderKey;

/// All that the EC half of a ratchet contributes to a message: what X25519, once broken, gives.
pub(crate) struct EcKeys {
    pub(crate) header_key: [u8; 32],
    pub(crate) message_key: [u8; 32],
}

impl EcKeys {
    pub(crate) fn open_header(&self, message: &Message<'_>) -> Result<[u8; HEADER_LEN], Error> {
        HeaderKey::new(Secret::new(self.header_key)).open(&SealedHeader::of(message)?)
    }

    fn message_key(&self) -> MessageKey<Ec> {
        MessageKey::stolen(self.message_key)
    }

    /// Opens a message with both halves of its key.
    pub(crate) fn open(
        &self,
        pq: [u8; 32],
        session: &[u8; 32],
        message: &Message<'_>,
    ) -> Result<Vec<u8>, Error> {
        let header = self.open_header(message)?;
        let key = MessageSecrets::derive(&self.message_key(), &MessageKey::stolen(pq), &header);
        key.opened(session, &header, message.body).map(|(content, _)| content)
    }
}

impl TripleRatchet {
    /// Every header key that a copy of the state has.
    pub(crate) fn stolen_header_keys(&self, cold: &Cold) -> Vec<[u8; 32]> {
        self.ec.all_header_keys(&cold.ec)
    }

    /// Opens a message of this side's, by its sending chains. The PQ chains may be those
    /// of a copy of the state that has been kept in step.
    pub(crate) fn open_own(
        &self,
        pq: &Self,
        session: &[u8; 32],
        message: &Message<'_>,
    ) -> Result<Vec<u8>, Error> {
        let (header, ec) = self.ec.open_own(&SealedHeader::of(message)?)?;
        pq.open_own_body(&ec, &header, session, message)
    }

    /// The same for who has the EC keys.
    pub(crate) fn open_own_with(
        &self,
        ec: &EcKeys,
        session: &[u8; 32],
        message: &Message<'_>,
    ) -> Result<Vec<u8>, Error> {
        self.open_own_body(&ec.message_key(), &ec.open_header(message)?, session, message)
    }

    fn open_own_body(
        &self,
        ec: &MessageKey<Ec>,
        header: &[u8; HEADER_LEN],
        session: &[u8; 32],
        message: &Message<'_>,
    ) -> Result<Vec<u8>, Error> {
        let pq = self.pq.own_key(&Header::from_bytes(header)?)?;
        let key = MessageSecrets::derive(ec, &pq, header);
        key.opened(session, header, message.body).map(|(content, _)| content)
    }

    /// Opens a message to this side by its PQ half and the EC keys; its codewords go to the Braid.
    pub(crate) fn open_with(
        &mut self,
        cold: &mut Cold,
        ec: &EcKeys,
        session: &[u8; 32],
        message: &Message<'_>,
    ) -> Result<Vec<u8>, Error> {
        let header_bytes = ec.open_header(message)?;
        let pq = self.pq.receive(&cold.pq, &Header::from_bytes(&header_bytes)?, all_before)?;
        let key = MessageSecrets::derive(&ec.message_key(), &pq.message_key, &header_bytes);
        let (content, codewords) = key.opened(session, &header_bytes, message.body)?;
        self.pq.commit(&mut cold.pq, pq, codewords.as_ref(), MAX_SKIPPED_KEYS);
        Ok(content)
    }

    /// Takes in the EC half of a message to this side, whether or not its body can be opened.
    pub(crate) fn follow(&mut self, cold: &mut Cold, message: &Message<'_>) -> Result<[u8; 32], Error> {
        let (place, header) = self.ec.open_header(&cold.ec, &SealedHeader::of(message)?)?;
        let receipt = self.ec.receive(&cold.ec, place, &Header::from_bytes(&header)?)?;
        let key = *receipt.message_key.as_bytes();
        self.ec.commit(&mut cold.ec, receipt);
        Ok(key)
    }

    /// Sends as the owner does, with a generator for each half: the EC keys, and the PQ message key.
    pub(crate) fn send_halves(
        &mut self,
        room: usize,
        ec_rng: &mut impl TryCryptoRng,
        pq_rng: &mut impl TryCryptoRng,
    ) -> Result<(EcKeys, [u8; 32]), Error> {
        let randomness = self.pq.prepare(pq_rng)?;
        let ec = self.ec.send(ec_rng)?;
        let keys = EcKeys { header_key: *ec.header_key.as_bytes(), message_key: *ec.message_key.as_bytes() };
        let pq = self.pq.send(randomness, Room { count: room, place: &mut None })?;
        Ok((keys, *pq.message_key.as_bytes()))
    }
}

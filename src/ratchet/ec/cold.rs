//! The cold half of the EC ratchet: what is kept for messages that have not arrived.

use alloc::{boxed::Box, collections::VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        HeaderKey,
        chain::{Ec, MessageKey},
        skipped::SkippedMessageKeys,
    },
    receipts::Receipts,
};
use crate::{Error, crypto::dh::AgreementPublic, wire::header::Header};
#[cfg(test)]
use crate::{
    crypto::{dh::AgreementKey, secret::Secret},
    ratchet::MAX_CLOSED_CHAINS,
};

/// The cold half: keys of missing messages, and the header keys to know them by.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct EcCold {
    pub(super) keys: SkippedMessageKeys<Ec>,
    /// Newest last; boxed so that the queue can move without leaving copies of header keys behind.
    pub(super) closed: VecDeque<Box<ClosedChain>>,
}

/// A receiving chain that has ended with messages still missing.
#[derive(Serialize, Deserialize)]
pub(super) struct ClosedChain {
    pub(super) sequence: u32,
    /// See the chain that was current.
    pub(super) start: u64,
    pub(super) ratchet_key: AgreementPublic,
    pub(super) header_key: HeaderKey,
    /// How many messages it had, as the peer said.
    pub(super) length: u32,
    pub(super) receipts: Receipts,
}

impl EcCold {
    /// The key of a message that is behind in its chain, or why there is none.
    pub(super) fn missing(
        &self,
        sequence: u32,
        receipts: &Receipts,
        header: &Header,
    ) -> Result<MessageKey<Ec>, Error> {
        match self.keys.get(sequence, header.message_number) {
            Some(key) => Ok(key.duplicate()),
            None => Err(receipts.judge(header.message_number, header.incarnation)),
        }
    }

    /// How many messages that have not arrived could still be read.
    pub(crate) fn missing_count(&self) -> usize {
        self.keys.len()
    }

    /// Wipes the header keys of closed chains of which nothing is missing any more.
    pub(super) fn drop_complete(&mut self) {
        let Self { keys, closed } = self;
        closed.retain(|chain| keys.has(chain.sequence));
    }
}

#[cfg(test)]
impl EcCold {
    /// The state that takes the most bytes.
    pub(crate) fn largest() -> Self {
        let chain = |_| {
            Box::new(ClosedChain {
                sequence: u32::MAX,
                start: u64::MAX,
                ratchet_key: *AgreementKey::from_seed(&Secret::new([1; 32])).public(),
                header_key: HeaderKey::new(Secret::new([1; 32])),
                length: u32::MAX,
                receipts: Receipts::largest(),
            })
        };
        Self { keys: SkippedMessageKeys::largest(), closed: (0..MAX_CLOSED_CHAINS).map(chain).collect() }
    }
}

//! The record of initial messages that used no one-time prekey, by which a replay is known.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How many initial messages without a one-time prekey a signed prekey serves. 256 KiB of fingerprints; beyond
/// that the owner must rotate.
pub(crate) const LIMIT: usize = 16_384;

/// The first 16 bytes of the first transcript hash of an initial message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub(crate) fn of(transcript: &[u8; 32]) -> Self {
        let [fingerprint @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *transcript;
        Self(fingerprint)
    }
}

/// Fingerprints of authenticated initial messages of one signed prekey; dropped with it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct ReplayRecord(BTreeSet<Fingerprint>);

impl ReplayRecord {
    /// Whether an initial message may be accepted; changes nothing.
    pub(crate) fn check(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        if self.0.contains(fingerprint) {
            Err(Error::Replayed)
        } else if self.is_full() {
            Err(Error::ReplayRecordFull)
        } else {
            Ok(())
        }
    }

    /// Remembers an initial message that has been authenticated.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint) {
        self.0.insert(fingerprint);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a46_is_bounded_and_fails_closed() {
        let mut record = ReplayRecord::default();
        let fingerprint = |i: usize| {
            let mut transcript = [0; 32];
            transcript[..8].copy_from_slice(&i.to_be_bytes());
            Fingerprint::of(&transcript)
        };
        for i in 0..LIMIT {
            assert_eq!(record.check(&fingerprint(i)), Ok(()));
            record.insert(fingerprint(i));
        }
        assert_eq!(record.check(&fingerprint(LIMIT)), Err(Error::ReplayRecordFull));
        assert_eq!(record.check(&fingerprint(7)), Err(Error::Replayed));
    }
}

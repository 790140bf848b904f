//! Which session a message belongs to, when nobody says who sent it.
//!
//! A message names nothing, so the header keys of all sessions are tried. They stand here in memory, 32 bytes each,
//! so that sessions need not be opened for it. What is committed here renews them; sessions that have moved on in another
//! process are looked up again before giving up.
//!
//! Not its concern: messages that carry a handshake, which name it.

use std::collections::BTreeMap;

use super::{DeviceError, records::Table, vault::Vault, work::Work};
use crate::{
    DeviceId, Session, SessionId, ratchet::SealedHeader, session::HeaderKeys, store::Store,
    wire::message::Message,
};

/// How many sessions are tried: two keys each and 1.7 us a key make this about 14 ms.
const MAX_TRIED: usize = 4_096;
/// How many records are read at once.
const PAGE: usize = 256;

#[derive(Default)]
pub(super) struct HeaderIndex {
    sessions: BTreeMap<[u8; 16], Entry>,
    partial: bool,
}

struct Entry {
    version: u64,
    device: DeviceId,
    session: SessionId,
    keys: HeaderKeys,
}

impl HeaderIndex {
    /// Whether there are more sessions than are tried.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// A session was changed or deleted here, so that copies of keys that it does not have any more do not stay either.
    pub(super) fn renew(&mut self, name: &[u8; 16], stored: Option<(u64, &Session)>) {
        match stored {
            None => drop(self.sessions.remove(name)),
            Some((version, session)) => {
                if let Some(entry) = self.sessions.get_mut(name) {
                    (entry.version, entry.keys) = (version, session.header_keys());
                }
            }
        }
    }

    /// Whether a key of the header of this message is in memory; and of how many sessions there are some.
    #[cfg(test)]
    pub(super) fn opens(&self, message: &[u8]) -> (bool, usize) {
        let message = Message::parse(message).unwrap();
        let header = SealedHeader::of(&message).unwrap();
        (self.sessions.values().any(|entry| entry.keys.open(&header)), self.sessions.len())
    }

    /// The session that a message belongs to, and whose it is.
    pub(super) fn find<S: Store>(
        &mut self,
        work: &mut Work<'_, S>,
        message: &[u8],
    ) -> Result<Option<(DeviceId, SessionId)>, DeviceError> {
        let message = Message::parse(message)?;
        let header = SealedHeader::of(&message)?;
        if let Some(found) = self.sessions.values().find(|entry| entry.keys.open(&header)) {
            return Ok(Some((found.device, found.session)));
        }
        let renewed = self.refresh(work.vault)?;
        let renewed = renewed.iter().filter_map(|name| self.sessions.get(name));
        Ok(renewed
            .into_iter()
            .find(|entry| entry.keys.open(&header))
            .map(|entry| (entry.device, entry.session)))
    }

    /// Looks at the sessions that have changed, and says which they are.
    fn refresh<S: Store>(&mut self, vault: &Vault<S>) -> Result<Vec<[u8; 16]>, DeviceError> {
        let mut current = BTreeMap::new();
        let mut renewed = Vec::new();
        let mut after = 0;
        self.partial = false;
        loop {
            let page = vault.store.list(Table::Sessions as u8, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.position;
            for record in &page {
                let name = record.id.name;
                let entry = match self.sessions.remove(&name) {
                    Some(entry) if entry.version == record.version => entry,
                    _ => match vault.open_listed_session(record)? {
                        Some((version, session)) => {
                            renewed.push(name);
                            Entry {
                                version,
                                device: DeviceId::of(session.peer_identity()),
                                session: session.id(),
                                keys: session.header_keys(),
                            }
                        }
                        None => continue,
                    },
                };
                current.insert(name, entry);
            }
            if current.len() >= MAX_TRIED {
                self.partial = true;
                break;
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.sessions = current;
        Ok(renewed)
    }
}

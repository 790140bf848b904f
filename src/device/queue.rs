//! The outbox and the inbox, page by page.

use std::collections::VecDeque;

use super::{
    DeviceError, InboxId, OutboxId, Outgoing, Received, UserInfo,
    records::{InboxRecord, OutboxRecord, Stored, UserRecord},
    vault::Vault,
    work::Work,
};
use crate::{
    Address,
    store::{Record, Store},
};

/// How many records are read at once.
const PAGE: usize = 100;

/// What a record becomes for the app.
pub(super) trait Shown {
    type Stored: Stored;

    fn show(record: &Record, stored: Self::Stored) -> Self;
}

/// Goes through a table, oldest first. What is put while it does is there or not. A record that does not open is an error,
/// and those behind it follow; after one of the store it ends.
pub(super) fn listing<S: Store, T: Shown>(
    vault: &Vault<S>,
) -> impl Iterator<Item = Result<T, DeviceError>> + use<'_, S, T> {
    let mut page = VecDeque::new();
    let (mut after, mut done) = (0, false);
    let mut advance = move || -> Result<Option<T>, DeviceError> {
        if page.is_empty() && !done {
            let records = vault.store.list(T::Stored::TABLE as u8, after, PAGE)?;
            done = records.len() < PAGE;
            after = records.last().map_or(after, |record| record.position);
            page = VecDeque::from(records);
        }
        let Some(record) = page.pop_front() else { return Ok(None) };
        Ok(Some(T::show(&record, vault.open(&record)?)))
    };
    let mut failed = false;
    std::iter::from_fn(move || {
        let item = if failed { None } else { advance().transpose() };
        failed |= matches!(item, Some(Err(DeviceError::Store(_))));
        item
    })
}

impl<S: Store> Work<'_, S> {
    /// Deletes what waits in the outbox and is not to leave any more.
    pub(super) fn drop_outbox(
        &mut self,
        mut is_dropped: impl FnMut(&OutboxRecord) -> bool,
    ) -> Result<(), DeviceError> {
        let mut after = 0;
        loop {
            let page = self.vault.store.list(OutboxRecord::TABLE as u8, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.position;
            for record in &page {
                // One that does not open is not handed out either.
                if self.vault.open(record).is_ok_and(|out| is_dropped(&out)) {
                    self.delete_at(record.id);
                }
            }
        }
    }
}

impl Shown for Outgoing {
    type Stored = OutboxRecord;

    fn show(record: &Record, stored: OutboxRecord) -> Self {
        stored.into_outgoing(OutboxId(record.id.name))
    }
}

impl OutboxRecord {
    pub(super) fn into_outgoing(self, id: OutboxId) -> Outgoing {
        let to = Address { user: self.user, device: self.device };
        Outgoing { id, to, message: self.message, bytes: self.bytes }
    }
}

impl Shown for Received {
    type Stored = InboxRecord;

    fn show(record: &Record, stored: InboxRecord) -> Self {
        Self {
            id: InboxId(record.id.name),
            from: Address { user: stored.user, device: stored.device },
            event: stored.event,
            redelivered: true,
        }
    }
}

impl Shown for UserInfo {
    type Stored = UserRecord;

    fn show(_: &Record, stored: UserRecord) -> Self {
        Self::of(&stored)
    }
}

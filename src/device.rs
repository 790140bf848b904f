//! What an app uses: a device of a user, over a store. Nothing is lost, nothing comes twice, whatever crashes when.
//!
//! ```text
//!              ┌── provide: lists, bundles <── server <── publication ──┐
//! app ── send ─┴─> outbox ──> transport ──> receive ──> inbox ──> app: acknowledge
//!                    sent <── server has it
//! ```
//! Every call that changes anything is one commit of the store. A message leaves only after the state that made it is durable,
//! and stays in the outbox until the app says that the server has it; what came in stays in the inbox until the app
//! acknowledges it.
//!
//! Not its concern: networking; what the app's content means.

mod admission;
#[cfg(test)]
mod adversaries;
mod backup;
mod bundles;
mod cache;
mod contacts;
mod content;
mod error;
mod event;
#[cfg(test)]
mod hostile;
mod index;
mod link;
mod lists;
mod opening;
mod publish;
mod queue;
mod reading;
mod receive;
mod records;
mod resend;
mod sealing;
mod send;
mod sessions;
mod streams;
mod upkeep;
mod vault;
#[cfg(test)]
mod vectors;
mod work;

use std::{borrow::Borrow, fmt};

pub use backup::{BackupLock, RecoveryKey};
pub use bundles::BundleOutcome;
pub use error::{DeviceError, Missing, Refusal};
pub use event::{Event, InboxId, MessageId, OutboxId, Outgoing, Received, Trust};
pub use link::Link;
pub use opening::Config;
pub use publish::{LOW_WATER, Publication};
pub use send::{Draft, MAX_MESSAGE_LEN};
pub use upkeep::{Settings, Tasks, UserInfo};

use crate::{
    Address, DeviceId, IdentityKeyPair, UnixTime, UserId,
    crypto::secret::scrubbed,
    store::{Action, Change, Expected, RecordId, Store},
};
use cache::Cache;
use index::HeaderIndex;
use opening::Clock;
use receive::Outcome;
use records::Table;
use vault::Vault;
use work::Work;

/// A device of a user, over a store. Every call that changes anything is one commit: it has happened whole, or not at all.
/// Three may take several, each of which is whole: [`receive_many`](Self::receive_many) around what cannot be read,
/// [`set_settings`](Self::set_settings) for what it deletes, and [`maintain`](Self::maintain), which also sends what was asked for again.
///
/// What an app does when it starts, after a crash as well as after a good night, is always the same:
///
/// ```
/// use subrosa::{Device, DeviceError, LOW_WATER, Outgoing, Publication, Received, StorageKey, store::MemoryStore};
///
/// # fn is_set_up() -> bool { false }
/// # fn note_that_it_is_set_up(_: &subrosa::UserId) {}
/// # fn in_history(_: &Received) -> bool { false }
/// # fn keep_in_history(_: &Received) {}
/// # fn prekeys_on_server() -> usize { 0 }
/// # fn upload(_: &Publication) {}
/// # fn fetch_list(_: &subrosa::UserId) -> Option<Vec<u8>> { None }
/// # fn push(_: &Outgoing) {}
/// # fn mailbox() -> Vec<Vec<u8>> { vec![] }
/// # fn tell_server_that_it_arrived(_: &[u8]) {}
/// # let (key, store) = (StorageKey::generate(), MemoryStore::new());
/// // The key is from the platform's keychain. That there is a user the app notes outside of the store: if its file is gone,
/// // `open` says so, where `open_or_create` would make another user, whom nobody knows.
/// let mut device = if is_set_up() { Device::open(store, &key)? } else { Device::open_or_create(store, &key)? };
/// note_that_it_is_set_up(&device.user());
///
/// // 1. What the server needs, and what is needed from it. Records that do not open any more are deleted.
/// let tasks = device.maintain()?;
/// if tasks.damaged > 0 {
///     eprintln!("{} records were damaged", tasks.damaged);
/// }
/// if tasks.publish || prekeys_on_server() < LOW_WATER {
///     let publication = device.publication(prekeys_on_server())?;
///     upload(&publication);
///     device.published(&publication)?;
/// }
/// for list in tasks.fetch.lists.iter().filter_map(fetch_list) {
///     // What it shows is in the inbox. A server may have none that is to be believed.
///     if let Err(error) = device.provide(&list) {
///         eprintln!("device list: {error}"); // `Forked`: see `Refusal`
///     }
/// }
///
/// // 2. What came in and was not acknowledged. The app may have it already.
/// let inbox: Vec<_> = device.inbox().collect::<Result<_, _>>()?;
/// for got in inbox.iter().filter(|got| !in_history(got)) {
///     keep_in_history(got);
/// }
/// device.acknowledge(inbox.iter().map(|got| got.id))?;
///
/// // 3. What has arrived. Nothing is sent by that.
/// for message in mailbox() {
///     match device.receive(&message, None) {
///         Ok(received) => received.iter().for_each(keep_in_history),
///         // It stays on the server; those behind it are received all the same. See the table of `DeviceError`.
///         Err(error) if error.keeps_message() => {
///             if let DeviceError::Missing(missing) = error {
///                 for list in missing.lists.iter().filter_map(fetch_list) {
///                     let _ = device.provide(&list); // and the message is read next time
///                 }
///             }
///             continue;
///         }
///         Err(_) => {} // nobody can read it
///     }
///     tell_server_that_it_arrived(&message);
/// }
///
/// // 4. What the server does not have.
/// let outbox: Vec<_> = device.outbox().collect::<Result<_, _>>()?;
/// outbox.iter().for_each(push);
/// device.sent(outbox.iter().map(|out| out.id))?;
/// # Ok::<(), DeviceError>(())
/// ```
///
/// Close it before the process ends by dropping it. There may be several on one store at once, in one process or in many.
///
/// # The server
///
/// It is not believed, and has to do little. What travels is bytes; accounts, transport and formats around them are the app's.
///
/// - *Of a user* it keeps the list of devices with the highest [version](crate::DeviceList::version), and gives it to whoever asks.
/// - *Of a device* it keeps what its [`Publication`] says, and takes that from whoever is logged in as that device. To who wants to write
///   it gives a [bundle](crate::PreKeyBundle::new) of it, with a one-time prekey that no other bundle had, as long as there are
///   some; best without asking who wants it, and not too often.
/// - *For a device* it keeps a mailbox: puts in what comes for [`Outgoing::to`], from anybody, and takes out what the device says
///   has arrived.
/// - *When a new list lacks a device* it deletes its bundles and its mailbox. For a device that is not in the newest list it takes
///   no message: the sender's app fetches that list, [provides](Self::provide) it, and is told by
///   [`Event::DevicesChanged`] what to send again.
pub struct Device<S> {
    vault: Vault<S>,
    cache: Cache,
    index: HeaderIndex,
    identity: IdentityKeyPair,
    address: Address,
    clock: Clock,
}

/// What an operation works with, besides the records.
struct Context<'a> {
    identity: &'a IdentityKeyPair,
    device: DeviceId,
    now: UnixTime,
}

/// A message that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Who may have sent it, as far as the transport knows. It is not believed, and makes finding the session fast.
    pub from: Option<&'a UserId>,
}

/// Sending and receiving.
impl<S: Store> Device<S> {
    /// Encrypts content for every device of a user, and for the other devices of this one. What is returned is in the
    /// outbox, too; behind the rest are messages that these devices have asked for again. It is ciphertext: what the app
    /// shows as sent, and under which id, it keeps itself.
    ///
    /// The whole call succeeds or nothing has changed. It may be called with one's own user: for one's other devices. If the
    /// app must not send anything twice, whatever crashes, it keeps text and id first and uses [`Draft::with_id`].
    ///
    /// ```
    /// use subrosa::{Device, DeviceError, Outgoing, UserId, store::Store};
    ///
    /// /// `list` and `bundle` ask the server. (There may be no list: of somebody who is none of its users.)
    /// fn send<S: Store>(
    ///     device: &mut Device<S>,
    ///     to: &UserId,
    ///     text: &[u8],
    ///     list: impl Fn(&UserId) -> Option<Vec<u8>>,
    ///     bundle: impl Fn(&subrosa::Address) -> Option<Vec<u8>>,
    /// ) -> Result<Vec<Outgoing>, DeviceError> {
    ///     for _ in 0..3 {
    ///         let missing = match device.send(to, text) {
    ///             Err(DeviceError::Missing(missing)) => missing,
    ///             result => return result,
    ///         };
    ///         for list in missing.lists.iter().filter_map(&list) {
    ///             device.provide(&list)?;
    ///         }
    ///         for address in &missing.bundles {
    ///             device.provide_bundle(address, bundle(address).as_deref())?;
    ///         }
    ///     }
    ///     // What is missing now the server does not have, or does not give: keep the text, and try again later.
    ///     device.send(to, text)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`DeviceError::Missing`] says what to fetch from the server, and to [`provide`](Self::provide) (lists) and
    /// [`provide_bundle`](Self::provide_bundle) first.
    /// [`DeviceError::Blocked`], [`DeviceError::Unreachable`], [`DeviceError::Unlinked`],
    /// [`DeviceError::ContentTooLong`], [`DeviceError::CertificateExpired`], [`DeviceError::Refused`],
    /// [`DeviceError::Store`].
    pub fn send(&mut self, to: &UserId, content: &[u8]) -> Result<Vec<Outgoing>, DeviceError> {
        self.send_many(&[Draft::new(to, content)])
    }

    /// [`Self::send`] of many messages in one commit: much faster than one by one.
    ///
    /// # Errors
    /// As [`Self::send`]: then none is sent.
    pub fn send_many(&mut self, drafts: &[Draft<'_>]) -> Result<Vec<Outgoing>, DeviceError> {
        self.run(|work, context, _| work.send(context, drafts))
    }

    /// What the server does not have yet, oldest first. A record that does not open is an error, and the others follow
    /// ([`Tasks::damaged`]). What is for a device that is out of its user's list is not here any more
    /// ([`Event::DevicesChanged`]); when this one is, nothing is.
    pub fn outbox(&self) -> impl Iterator<Item = Result<Outgoing, DeviceError>> + use<'_, S> {
        queue::listing(&self.vault)
    }

    /// The server has these. Naming one twice does no harm.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn sent(&mut self, ids: impl IntoIterator<Item = impl Borrow<OutboxId>>) -> Result<(), DeviceError> {
        self.erase(Table::Outbox, ids.into_iter().map(|id| id.borrow().0))
    }

    /// Reads a message, whatever it is, whoever it is from. What it brings is in the inbox, too. Nothing is put into the
    /// outbox: what a device asks for again goes with the next message to it, or an hour later by [`maintain`](Self::maintain).
    /// Tell the server that the message arrived when this has returned, with an error as well unless that
    /// [keeps it](DeviceError::keeps_message).
    ///
    /// `from` is who may have sent it, as far as the transport knows: then a million sessions are no more than a few. If it is
    /// wrong that costs time, and a bundle: of a contact that it names, when nothing can be read, one is asked for before the
    /// next message to them. So do not take it from a server that is not to know who writes to whom.
    ///
    /// # Errors
    /// [`DeviceError::Message`], [`DeviceError::Refused`], [`DeviceError::NeedsHint`],
    /// [`DeviceError::TooManyStrangers`], [`DeviceError::TooManyDevices`], [`DeviceError::TooManySessions`],
    /// [`DeviceError::Blocked`], [`DeviceError::Missing`], [`DeviceError::Store`].
    pub fn receive(&mut self, message: &[u8], from: Option<&UserId>) -> Result<Vec<Received>, DeviceError> {
        match self.run(|work, context, index| work.receive(context, index, message, from))? {
            Outcome::Received(received) => Ok(received),
            Outcome::Refused(error) => Err(error),
        }
    }

    /// [`Self::receive`] of many messages, as far as possible in one commit: much faster than one by one. What
    /// became of each, in order; shorter than `messages` if the store failed: what comes after that has not been looked
    /// at.
    pub fn receive_many(&mut self, messages: &[Incoming<'_>]) -> Vec<Result<Vec<Received>, DeviceError>> {
        let mut results = Vec::new();
        while let Some(rest) = messages.get(results.len()..).filter(|rest| !rest.is_empty()) {
            // As many as are good; what follows the first bad one depends on what that one leaves behind.
            let mut good = rest.len();
            let received = loop {
                let Some(batch) = rest.get(..good) else { return results };
                let mut read = 0;
                let received = self.run(|work, context, index| {
                    read = 0;
                    let mut received = Vec::new();
                    for message in batch {
                        match work.receive(context, index, message.bytes, message.from)? {
                            Outcome::Received(events) => received.push(Ok(events)),
                            Outcome::Refused(error) => return Err(error),
                        }
                        read += 1;
                    }
                    Ok(received)
                });
                match received {
                    Ok(received) => break received,
                    Err(DeviceError::Store(error)) => {
                        results.push(Err(DeviceError::Store(error)));
                        return results;
                    }
                    Err(_) if (1..good).contains(&read) => good = read,
                    // Once more, alone: so that its marks stay.
                    Err(_) => break Vec::new(),
                }
            };
            if received.is_empty() {
                let Some(first) = rest.first() else { return results };
                let result = self.receive(first.bytes, first.from);
                let failed = matches!(result, Err(DeviceError::Store(_)));
                results.push(result);
                if failed {
                    return results;
                }
            }
            results.extend(received);
        }
        results
    }

    /// What the app has not acknowledged, oldest first, all marked as redelivered. A record that does not open is an error,
    /// and the others follow ([`Tasks::damaged`]).
    pub fn inbox(&self) -> impl Iterator<Item = Result<Received, DeviceError>> + use<'_, S> {
        queue::listing(&self.vault)
    }

    /// The app has these safe. Naming one twice does no harm.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn acknowledge(
        &mut self,
        ids: impl IntoIterator<Item = impl Borrow<InboxId>>,
    ) -> Result<(), DeviceError> {
        self.erase(Table::Inbox, ids.into_iter().map(|id| id.borrow().0))
    }
}

/// The server's part.
impl<S: Store> Device<S> {
    /// What the server has to have of this device. `on_server` is how many one-time prekeys it says it has; below
    /// [`LOW_WATER`] more are made. All is durable before it is shown, and shown again until it is
    /// [published](Self::published).
    ///
    /// # Errors
    /// [`DeviceError::Unlinked`], [`DeviceError::Store`].
    pub fn publication(&mut self, on_server: usize) -> Result<Publication, DeviceError> {
        self.run(|work, context, _| work.publication(context, on_server))
    }

    /// The server has all of this.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn published(&mut self, publication: &Publication) -> Result<(), DeviceError> {
        self.run(|work, _, _| work.published_now(publication))
    }

    /// Takes in a device list that was fetched from the server, of whichever user: it says whose it is. What it shows (devices
    /// have changed, this one is unlinked) is in the inbox, too.
    ///
    /// A list that has expired is refused, and one that is valid for more than 97 days from now on. Yet if it is the newest that is known, devices that are not in it are out. An
    /// older list of this device's own user does no harm: the server has not got the newest yet.
    ///
    /// # Errors
    /// [`DeviceError::Message`] if it is none, [`DeviceError::Refused`] if it is not to be believed,
    /// [`DeviceError::Store`].
    pub fn provide(&mut self, fetched: &[u8]) -> Result<Vec<Received>, DeviceError> {
        let list = lists::read_list(fetched)?;
        let (shown, refused) = self.run(|work, context, _| work.provide_list(context, &list))?;
        refused.map_or(Ok(shown), |refusal| Err(refusal.into()))
    }
}

impl<S: Store> Device<S> {
    fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Work<'_, S>, &Context<'_>, &mut HeaderIndex) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let context = Context { identity: &self.identity, device: self.address.device, now: (self.clock)() };
        scrubbed(|| {
            Work::run(&mut self.vault, &mut self.cache, &mut self.index, |work, index| {
                operation(work, &context, index)
            })
        })
    }

    fn erase(&mut self, table: Table, names: impl Iterator<Item = [u8; 16]>) -> Result<(), DeviceError> {
        let ids: std::collections::BTreeSet<_> = names.collect();
        let changes: Vec<_> = ids
            .into_iter()
            .map(|name| Change {
                id: RecordId { table: table as u8, name },
                expected: Expected::Anything,
                action: Action::Delete,
            })
            .collect();
        self.vault.commit(&changes)
    }
}

impl<S> fmt::Debug for Device<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("address", &self.address).finish_non_exhaustive()
    }
}

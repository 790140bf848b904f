//! First messages: who is let in.
//!
//! ```text
//! handshake ──> certificate of the sender ──> what is known of the user ──> a session with one more device
//! ```
//! Anybody can make users and write first. So strangers are few, have few devices and sessions, and begin few in a day; who
//! has been written to, or verified, is none.
//!
//! Not its concern: what the message says.

use super::{
    Context, DeviceError, Event, Missing, Refusal, Trust,
    lists::out_of_force,
    receive::Outcome,
    records::{HandshakeRecord, SessionEntry, Standing, Strangers, UserRecord},
    sessions::is_recent,
    work::Work,
};
use crate::{
    Accepted, Address, DeviceId, Error, IdentityKey, MessageKind, UserId,
    roster::{KnownList, MAX_DEVICES, Payload},
    store::Store,
};

/// How many users are kept who have written and were never answered.
pub(super) const MAX_STRANGERS: u32 = 500;
/// How many devices and how many sessions with each are kept of such a user: few enough that the messages of others are
/// found among all of them without a hint.
const MAX_STRANGERS_DEVICES: usize = 2;
pub(super) const MAX_STRANGERS_SESSIONS: usize = 2;
/// How many sessions such a user may begin in a day, and any other one. A device that keeps to the rules begins two at most
/// (`sessions`). Each is a handshake, and perhaps one fingerprint in the replay record of a signed prekey, which has no room for
/// everything that one user could put there. Devices come and go with lists that users sign themselves, so it is users
/// that are counted.
const MAX_STRANGERS_BEGINNINGS: u32 = 8;
const MAX_BEGINNINGS: u32 = 2 * MAX_DEVICES as u32;
const _: () = assert!(MAX_BEGINNINGS == 64);

impl<S: Store> Work<'_, S> {
    pub(super) fn receive_initial(
        &mut self,
        context: &Context<'_>,
        message: &[u8],
        hint: Option<&UserId>,
    ) -> Result<Outcome, DeviceError> {
        let Accepted { session, content, payload, .. } = match self.accept(context, message)? {
            Ok(accepted) => accepted,
            Err(Error::UnknownPreKey) => {
                if let Some(user) = hint {
                    let devices =
                        self.user(user)?.get().map_or_else(Vec::new, |record| record.devices.clone());
                    for device in &devices {
                        if self.has_seen(device, message)? {
                            return Err(Error::Duplicate.into());
                        }
                    }
                    self.suspect_user(user)?;
                }
                return Ok(Outcome::Refused(Error::UnknownPreKey.into()));
            }
            Err(error) => return Err(error.into()),
        };
        let content = zeroize::Zeroizing::new(content);
        let key = *session.peer_identity();
        let (address, mut events) = self.check_certificate(context, &key, &payload)?;
        self.count_beginning(context, &address.user)?;
        if !session.used_one_time_prekey() {
            events.push(Event::NoOneTimePreKey);
        }
        let handshake = session.accepted_from();
        let id = self.add_session(session)?;
        if let Some(handshake) = handshake {
            self.put(&handshake, &HandshakeRecord { device: address.device, session: id })?;
        }
        let peer = self.peer_or_new(&address, &key)?;
        peer.sessions.push(SessionEntry::new(id, context.now));
        let outcome =
            self.received(context, MessageKind::Initial, &address.device, &id, message, &content, events)?;
        self.drop_old_sessions(context, &address.device)?;
        Ok(outcome)
    }

    /// Who the sender of a first message is, and what that brings to light.
    pub(super) fn check_certificate(
        &mut self,
        context: &Context<'_>,
        key: &IdentityKey,
        payload: &[u8],
    ) -> Result<(Address, Vec<Event>), DeviceError> {
        let Payload { certificate, recipient } = Payload::from_bytes(payload).map_err(|_| Refusal::Forged)?;
        certificate.verify(key).map_err(|_| Refusal::Forged)?;
        let own = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        if recipient != own {
            return Err(Refusal::OtherRecipient.into());
        }
        if let Some(refusal) = out_of_force(certificate.expires(), context.now) {
            return Err(refusal.into());
        }
        let (user, device) = (*certificate.user(), DeviceId::of(key));
        if self.peer(&device)?.get().is_some_and(|peer| peer.user != user) || device == context.device {
            return Err(Refusal::OtherUsersDevice.into());
        }
        let address = Address { user, device };
        let claimed = *certificate.list();
        let events = self.introduce(&address, Some(claimed), MAX_STRANGERS)?;
        let record = self.user(&user)?.get().ok_or(DeviceError::Damaged)?;
        let list = record.newest_list()?;
        let known = record.known.unwrap_or(claimed);
        let listed = list.filter(|list| list.version() == known.version);
        if claimed.version == known.version && claimed.hash != known.hash {
            return Err(Refusal::Forked.into());
        }
        if claimed.version > known.version || record.known.is_none() {
            if let Some(record) = self.user(&user)?.change() {
                record.known = Some(claimed);
            }
            return Ok((address, events));
        }
        match listed {
            Some(list) if list.contains(&device) => Ok((address, events)),
            Some(_) => Err(Refusal::NotInList.into()),
            None if claimed.version == known.version => Ok((address, events)),
            // Whether the device has been removed since then says the list that is known to exist, and is not here.
            None => {
                let missing = Missing { lists: vec![user], ..Missing::default() };
                Err(DeviceError::Missing(missing))
            }
        }
    }

    /// A message has opened in a session with a device. If the record of its user was damaged, and deleted, they are met as if for
    /// the first time; none if the list that has come since does not have the device.
    pub(super) fn meet_again(&mut self, sender: &Address) -> Result<Option<Vec<Event>>, DeviceError> {
        let events = match self.user(&sender.user)?.get() {
            Some(record) if record.devices.contains(&sender.device) => return Ok(Some(Vec::new())),
            Some(record) => {
                let max = if record.standing == Standing::Stranger {
                    MAX_STRANGERS_DEVICES
                } else {
                    MAX_DEVICES.into()
                };
                let full = record.devices.len() >= max;
                if full || record.taken > 0 && !record.listed.contains(&sender.device) {
                    return Ok(None);
                }
                Vec::new()
            }
            // There has been a place for them.
            None => self.introduce(sender, None, u32::MAX)?,
        };
        if let Some(record) = self.user(&sender.user)?.change() {
            record.devices.push(sender.device);
        }
        Ok(Some(events))
    }

    /// A user writes a first message: perhaps for the first time, if there are fewer strangers than this.
    fn introduce(
        &mut self,
        address: &Address,
        claimed: Option<KnownList>,
        most: u32,
    ) -> Result<Vec<Event>, DeviceError> {
        let record = self.user(&address.user)?.get();
        let standing = record.map_or(Standing::Listed, |record| record.standing);
        if record.is_some_and(|record| record.trust == Trust::Blocked) {
            return Err(DeviceError::Blocked);
        }
        match standing {
            Standing::Contact => return Ok(Vec::new()),
            Standing::Stranger => {
                let known = record.is_some_and(|record| {
                    record.devices.contains(&address.device) || record.devices.len() < MAX_STRANGERS_DEVICES
                });
                return if known { Ok(Vec::new()) } else { Err(DeviceError::TooManyDevices) };
            }
            Standing::Listed => {}
        }
        let strangers = self.strangers()?;
        let count = strangers.get().map_or(0, |strangers| strangers.count);
        if count >= most {
            return Err(DeviceError::TooManyStrangers);
        }
        strangers.put(Strangers { count: count.saturating_add(1) });
        let slot = self.user(&address.user)?;
        match slot.change() {
            Some(record) => record.standing = Standing::Stranger,
            None => {
                let record = UserRecord::new(address.user, claimed, None);
                slot.put(UserRecord { standing: Standing::Stranger, ..record });
            }
        }
        Ok(vec![Event::NewUser])
    }

    /// A user begins a session, if it is not too many today.
    fn count_beginning(&mut self, context: &Context<'_>, user: &UserId) -> Result<(), DeviceError> {
        let record = self.user(user)?.change().ok_or(DeviceError::Damaged)?;
        if !is_recent(record.begun_since, context.now) {
            (record.begun, record.begun_since) = (0, context.now);
        }
        let stranger = record.standing == Standing::Stranger;
        if record.begun >= if stranger { MAX_STRANGERS_BEGINNINGS } else { MAX_BEGINNINGS } {
            return Err(DeviceError::TooManySessions);
        }
        record.begun += 1;
        Ok(())
    }

    /// Another device of this user's has written to a user, who may not be known here: when they answer they are no stranger.
    pub(super) fn note_written_to(&mut self, user: &UserId) -> Result<(), DeviceError> {
        let slot = self.user(user)?;
        if slot.get().is_none() {
            slot.put(UserRecord::new(*user, None, None));
        }
        self.note_contact(user)
    }

    /// The user is blocked: no stranger, who would take a place that others could have.
    pub(super) fn note_blocked(&mut self, user: &UserId) -> Result<(), DeviceError> {
        let slot = self.user(user)?;
        if slot.get().is_none_or(|record| record.standing != Standing::Stranger) {
            return Ok(());
        }
        if let Some(record) = slot.change() {
            record.standing = Standing::Listed;
        }
        self.fewer_strangers()
    }

    /// The user is somebody that this user writes to, or knows.
    pub(super) fn note_contact(&mut self, user: &UserId) -> Result<(), DeviceError> {
        let slot = self.user(user)?;
        let Some(standing) = slot.get().map(|record| record.standing) else { return Ok(()) };
        if standing != Standing::Contact
            && let Some(record) = slot.change()
        {
            record.standing = Standing::Contact;
        }
        if standing == Standing::Stranger { self.fewer_strangers() } else { Ok(()) }
    }

    /// So many were counted.
    pub(super) fn note_strangers(&mut self, count: u32) -> Result<(), DeviceError> {
        let slot = self.strangers()?;
        if slot.get().map_or(0, |strangers| strangers.count) != count {
            slot.put(Strangers { count });
        }
        Ok(())
    }

    pub(super) fn fewer_strangers(&mut self) -> Result<(), DeviceError> {
        if let Some(strangers) = self.strangers()?.change() {
            strangers.count = strangers.count.saturating_sub(1);
        }
        Ok(())
    }
}

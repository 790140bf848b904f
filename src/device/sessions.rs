//! The sessions with a device: begun, followed, suspected, replaced, dropped.
//!
//! ```text
//!   unreadable message ──> suspected ── next send, a bundle, at most twice a day ──> begun anew, the old ones given up
//! ```
//! Suspicion is all that who can alter messages on the way can cause.
//!
//! Not its concern: ratchets ([`Session`]).

use super::{
    Context, DeviceError,
    admission::MAX_STRANGERS_SESSIONS,
    content::StreamId,
    lists::out_of_force,
    records::{PeerRecord, SessionEntry, Standing, Suspicion, Table},
    streams::{Receiving, Sending},
    vault::random_bytes,
    work::Work,
};
use crate::{
    Address, DeviceId, IdentityKey, MessageKind, Session, SessionId, UnixTime, UserId, VerifiedBundle,
    keys::{DAY, HOUR},
    roster::{MAX_DEVICES, Payload},
    store::Store,
};

/// How often a session with a device is begun anew in [`HEALING_PERIOD`]: who can make messages unreadable can cause no
/// more than that.
const MAX_HEALINGS: usize = 2;
const HEALING_PERIOD: u64 = DAY;
/// Seconds after which a session in which nothing comes any more is taken for lost: the peer may have been put back, and not know it.
const UNANSWERED: u64 = 7 * DAY;
/// Seconds in which a device may still send on an older session than the one that was begun since: its messages are late.
const SUCCESSION: u64 = HOUR;
/// How often messages of one session show that the one sent on is broken: who keeps them could have a bundle fetched with each.
const MAX_MARKS: u8 = 2;
/// Seconds after which a session in which nothing has come is dropped when another one is begun: the peer has begun many since, or has gone.
const UNUSED: u64 = 30 * DAY;
/// How many sessions with one device are kept, and how many with all devices of one user: what a message that is said to be
/// theirs is tried in, and what they take of the sessions that others' are looked for among.
const MAX_SESSIONS: usize = 40;
const MAX_SESSIONS_OF_USER: usize = 64;

impl<S: Store> Work<'_, S> {
    /// Begins a session, and makes it the one to send on.
    pub(super) fn begin(
        &mut self,
        context: &Context<'_>,
        address: &Address,
        key: &IdentityKey,
        bundle: VerifiedBundle,
    ) -> Result<(), DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        if out_of_force(me.certificate.expires(), context.now).is_some() {
            return Err(DeviceError::CertificateExpired);
        }
        let payload = Payload { certificate: me.certificate.clone(), recipient: address.user }.to_bytes();
        let session = Session::initiate_with_payload(context.identity, bundle, &payload)?;
        let id = self.add_session(session)?;
        self.delete(Table::Bundles, &address.device.to_bytes());
        let peer = self.peer_or_new(address, key)?;
        if !peer.sessions.is_empty() {
            peer.healings.retain(|time| is_recent(*time, context.now));
            peer.healings.push(context.now);
        }
        peer.suspicion = Suspicion::None;
        peer.sessions.iter_mut().for_each(|entry| entry.given_up = true);
        peer.sessions.insert(0, SessionEntry::new(id, context.now));
        self.drop_old_sessions(context, &address.device)
    }

    /// The record of a device, made if there is none.
    pub(super) fn peer_or_new(
        &mut self,
        address: &Address,
        key: &IdentityKey,
    ) -> Result<&mut PeerRecord, DeviceError> {
        if self.peer(&address.device)?.get().is_none() {
            let user = self.user(&address.user)?.change().ok_or(DeviceError::UnknownUser)?;
            // It may be there without its record, if that was damaged.
            if !user.devices.contains(&address.device) {
                if user.devices.len() >= usize::from(MAX_DEVICES) {
                    return Err(DeviceError::TooManyDevices);
                }
                user.devices.push(address.device);
            }
            let record = PeerRecord {
                user: address.user,
                identity: *key,
                sessions: Vec::new(),
                sending: Sending::new(StreamId(random_bytes()?)),
                receiving: Receiving::default(),
                suspicion: Suspicion::None,
                healings: Vec::new(),
                unreachable_since: UnixTime::from_secs(0),
                has_our_list: 0,
                has_own_list: 0,
                gone: Vec::new(),
                asked: Vec::new(),
                seen: Vec::new(),
                ids: Vec::new(),
                marks: Vec::new(),
                told: None,
            };
            self.peer(&address.device)?.put(record);
        }
        self.peer(&address.device)?.change().ok_or(DeviceError::UnknownDevice)
    }

    /// Lets go of the session with a device that is sent on if it does not open any more: the next one takes its place, and
    /// is to be replaced.
    pub(super) fn drop_damaged(&mut self, device: &DeviceId) -> Result<(), DeviceError> {
        while let Some(peer) = self.peer(device)?.get()
            && let Some(id) = peer.sessions.first().map(|entry| entry.id)
            && self.session(&id)?.is_none()
        {
            self.delete_session(&id)?;
            if let Some(peer) = self.peer(device)?.change() {
                peer.sessions.retain(|entry| entry.id != id);
                peer.suspicion = Suspicion::Broken;
            }
        }
        Ok(())
    }

    /// Whether the session with a device that is sent on should be, and may be, replaced.
    pub(super) fn is_to_be_replaced(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
    ) -> Result<bool, DeviceError> {
        let Some(peer) = self.peer(device)?.get() else { return Ok(false) };
        let healed = peer.healings.iter().filter(|time| is_recent(**time, context.now)).count();
        let may = healed < MAX_HEALINGS || peer.sessions.is_empty();
        Ok(may && self.is_marked(context, device)?)
    }

    /// Whether the session with a device that is sent on should be replaced.
    pub(super) fn is_marked(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
    ) -> Result<bool, DeviceError> {
        let Some(peer) = self.peer(device)?.get() else { return Ok(false) };
        let Some(entry) = peer.sessions.first().copied() else { return Ok(true) };
        let suspicious = peer.suspicion != Suspicion::None;
        let unanswered = entry.waiting_since.is_some_and(|since| since.is_over(UNANSWERED, context.now));
        Ok(suspicious || unanswered || self.session(&entry.id)?.is_none_or(Session::needs_rehandshake))
    }

    /// Which session to send on from now on, and whether the one that is is in order.
    pub(super) fn follow(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        session: &SessionId,
        kind: MessageKind,
    ) -> Result<(), DeviceError> {
        let sessions = self.peer(device)?.get().map_or(&[][..], |peer| &peer.sessions);
        let given_up = sessions.iter().any(|entry| entry.id == *session && entry.given_up);
        let yields = match sessions.first().copied() {
            Some(active) if active.id != *session => {
                let confirmed = self.session(&active.id)?.is_some_and(Session::is_confirmed);
                if given_up {
                    // If both sides have begun, and each has given up the other's, neither would come to one that both have.
                    !confirmed && self.yields(&active.id, session, kind)?
                } else {
                    // Who begins one now has not got one that was begun here long ago, or has lost it since.
                    let overdue = !confirmed && active.began.is_over(SUCCESSION, context.now);
                    overdue && kind == MessageKind::Initial || self.yields(&active.id, session, kind)?
                }
            }
            _ => true,
        };
        let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
        if let Some(position) = peer.sessions.iter().position(|entry| entry.id == *session) {
            if let Some(entry) = peer.sessions.get_mut(position) {
                entry.last_used = context.now;
                entry.waiting_since = None;
            }
            if yields {
                if position > 0 || peer.suspicion == Suspicion::Unreadable {
                    peer.suspicion = Suspicion::None;
                }
                if let Some(moved) = peer.sessions.get_mut(..=position) {
                    moved.rotate_right(1);
                }
            }
        }
        Ok(())
    }

    /// A session is broken: it is not sent on again, or not any longer than until it is replaced. So is the one that is sent
    /// on if it is another, and not new: a peer who still sends on the broken one does not have it any more.
    pub(super) fn give_up(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        session: &SessionId,
    ) -> Result<(), DeviceError> {
        let Some(peer) = self.peer(device)?.change() else { return Ok(()) };
        let is_over = |active: &SessionEntry| active.began.is_over(SUCCESSION, context.now);
        let marks = peer.sessions.first().is_some_and(|active| active.id == *session || is_over(active));
        if let Some(entry) = peer.sessions.iter_mut().find(|entry| entry.id == *session) {
            (entry.given_up, entry.broken) = (true, true);
            if marks && peer.suspicion != Suspicion::Broken && entry.marks < MAX_MARKS {
                entry.marks += 1;
                peer.suspicion = Suspicion::Broken;
            }
        }
        Ok(())
    }

    /// A message was read in this session. If its number in a stream was used before, the peer goes on from an earlier state: of
    /// this session, if the stream went on in it; else of one before another. And who sends on a session that was found broken
    /// when another one has been sent on for long does not have that one.
    pub(super) fn follow_rollback(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        session: &SessionId,
        used_twice: Option<StreamId>,
    ) -> Result<(), DeviceError> {
        let Some(peer) = self.peer(device)?.get() else { return Ok(()) };
        let here = used_twice.is_some_and(|stream| peer.receiving.went_on_in(stream, session));
        let is_broken = peer.sessions.iter().any(|entry| entry.id == *session && entry.broken);
        let elsewhere = !peer.sends_on(session) && (used_twice.is_some() || is_broken);
        if here || elsewhere { self.give_up(context, device, session) } else { Ok(()) }
    }

    /// Marks all sessions with a user's devices: something arrived, perhaps from there, that could not be read. Who says
    /// that it is from there may do so to see whether this user writes to them; so only where that has been.
    pub(super) fn suspect_user(&mut self, user: &UserId) -> Result<(), DeviceError> {
        let contact = self.user(user)?.get().filter(|record| record.standing == Standing::Contact);
        let devices = contact.map_or_else(Vec::new, |record| record.devices.clone());
        for device in &devices {
            let peer = self.peer(device)?;
            if peer.get().is_some_and(|peer| peer.suspicion == Suspicion::None)
                && let Some(peer) = peer.change()
            {
                peer.suspicion = Suspicion::Unreadable;
            }
        }
        Ok(())
    }

    /// Drops the sessions with a device that have not been used for long, and if they are too many those that were used
    /// least recently; never the one sent on.
    pub(super) fn drop_old_sessions(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
    ) -> Result<(), DeviceError> {
        let Some(user) = self.peer(device)?.get().map(|peer| peer.user) else { return Ok(()) };
        let stranger = self.user(&user)?.get().is_some_and(|user| user.standing == Standing::Stranger);
        let max = if stranger { MAX_STRANGERS_SESSIONS } else { MAX_SESSIONS };
        let peer = self.peer(device)?.change().ok_or(DeviceError::UnknownDevice)?;
        let mut dropped = Vec::new();
        while let Some((index, oldest)) =
            peer.sessions.iter().enumerate().skip(1).min_by_key(|(_, entry)| entry.last_used)
            && (peer.sessions.len() > max || oldest.last_used.is_over(UNUSED, context.now))
        {
            dropped.push(peer.sessions.remove(index).id);
        }
        dropped.iter().try_for_each(|id| self.forget_session(id))?;
        self.drop_old_sessions_of(&user)
    }

    /// The same for all devices of a user.
    fn drop_old_sessions_of(&mut self, user: &UserId) -> Result<(), DeviceError> {
        let devices = self.user(user)?.get().map_or_else(Vec::new, |record| record.devices.clone());
        let (mut count, mut others) = (0, Vec::new());
        // With a single one there are fewer.
        for device in devices.iter().filter(|_| devices.len() > 1) {
            let peer = match self.peer(device) {
                Err(DeviceError::Damaged) => continue,
                peer => peer?.get(),
            };
            let sessions = peer.map_or(&[][..], |peer| &peer.sessions);
            count += sessions.len();
            others.extend(sessions.iter().skip(1).map(|entry| (entry.last_used, *device, entry.id)));
        }
        others.sort_by_key(|(last_used, ..)| *last_used);
        for (_, device, id) in others.into_iter().take(count.saturating_sub(MAX_SESSIONS_OF_USER)) {
            if let Some(peer) = self.peer(&device)?.change() {
                peer.sessions.retain(|entry| entry.id != id);
            }
            self.forget_session(&id)?;
        }
        Ok(())
    }

    /// Deletes a session and what points to it.
    pub(super) fn forget_session(&mut self, id: &SessionId) -> Result<(), DeviceError> {
        if let Some(handshake) = self.delete_session(id)?.and_then(|session| session.accepted_from()) {
            self.delete(Table::Handshakes, &handshake);
        }
        Ok(())
    }
}

impl PeerRecord {
    /// Whether this session is the one that is sent on.
    pub(super) fn sends_on(&self, session: &SessionId) -> bool {
        self.sessions.first().is_some_and(|active| active.id == *session)
    }
}

/// Within the last day. What a clock once ahead has left in the future does not count.
pub(super) fn is_recent(time: UnixTime, now: UnixTime) -> bool {
    time <= now && !time.is_over(HEALING_PERIOD, now)
}

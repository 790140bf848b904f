//! Receiving: one call for any message, whoever sent it.
//!
//! ```text
//! message ─┬─ a session's handshake, or its headers' key ──> decrypt ──┐
//!          └─ none, and it carries a handshake ──> accept, certificate ─┴─> content ──> inbox
//! ```
//! What cannot be read changes nothing but a mark. Nothing is sent by receiving.
//!
//! Not its concern: finding a session without a hint (`index`).

use super::{
    Context, DeviceError, Event, InboxId, Received, Refusal, Trust,
    content::Content,
    index::HeaderIndex,
    records::{HandshakeRecord, InboxRecord},
    resend::MAX_RESEND,
    vault::random_bytes,
    work::Work,
};
use crate::{
    Address, DeviceId, Error, MessageKind, SessionId, UserId,
    crypto::kdf::{self, Label},
    session,
    store::Store,
};

/// How many received messages are remembered of each device, to know a repeated one by.
const MAX_SEEN: usize = 32;

/// How many ids are remembered of each device: more than what it may be asked for, and so find that it has to send once more
/// (`DevicesChanged`), with what it sends in between.
pub(super) const MAX_IDS: usize = MAX_RESEND as usize + 128;

/// How many messages are remembered that have shown a session to be broken.
const MAX_MARKS: usize = 32;

/// How many sessions stay in memory that a message does not belong to: each may have keys of many missing messages.
const MAX_KEPT: usize = 8;

/// What became of a message.
pub(super) enum Outcome {
    Received(Vec<Received>),
    /// It is not to be had; marks may have been made.
    Refused(DeviceError),
}

impl<S: Store> Work<'_, S> {
    pub(super) fn receive(
        &mut self,
        context: &Context<'_>,
        index: &mut HeaderIndex,
        message: &[u8],
        hint: Option<&UserId>,
    ) -> Result<Outcome, DeviceError> {
        let kind = MessageKind::of(message)?;
        let handshake = session::handshake_of(message)?;
        let candidates = match (&handshake, hint) {
            (Some(digest), _) => {
                let record = self.read::<HandshakeRecord>(digest)?;
                record.map(|record| (record.device, record.session)).into_iter().collect()
            }
            (None, Some(user)) => self.sessions_of(user)?,
            (None, None) => Vec::new(),
        };
        for (number, (device, session)) in candidates.iter().enumerate() {
            if let Some(outcome) = self.try_session(context, kind, device, session, message)? {
                return Ok(outcome);
            }
            if number >= MAX_KEPT {
                self.unload(session);
            }
        }
        if handshake.is_some() {
            return match candidates.first() {
                None => self.receive_initial(context, message, hint),
                // Its handshake was accepted, and what came with it is not to be had (any more).
                Some((device, _)) if self.has_seen(device, message)? => Err(Error::Duplicate.into()),
                Some(_) => Err(Error::UnknownSession.into()),
            };
        }
        for (device, _) in &candidates {
            if self.has_seen(device, message)? {
                return Err(Error::Duplicate.into());
            }
        }
        // Without a hint, or with a wrong one.
        if let Some((device, session)) = index.find(self, message)? {
            return match self.try_session(context, kind, &device, &session, message)? {
                Some(outcome) => Ok(outcome),
                None if self.has_seen(&device, message)? => Err(Error::Duplicate.into()),
                None => Err(Error::UnknownSession.into()),
            };
        }
        match hint {
            None if index.is_partial() => Err(DeviceError::NeedsHint),
            None => Err(Error::UnknownSession.into()),
            Some(user) => {
                self.suspect_user(user)?;
                Ok(Outcome::Refused(Error::UnknownSession.into()))
            }
        }
    }

    /// Whether a message is one of the last that came from a device.
    pub(super) fn has_seen(&mut self, device: &DeviceId, message: &[u8]) -> Result<bool, DeviceError> {
        let seen = fingerprint(message);
        Ok(self.peer(device)?.get().is_some_and(|peer| peer.seen.contains(&seen)))
    }

    /// All sessions with a user's devices, those that are sent on first.
    fn sessions_of(&mut self, user: &UserId) -> Result<Vec<(DeviceId, SessionId)>, DeviceError> {
        let devices = self.user(user)?.get().map_or_else(Vec::new, |record| record.devices.clone());
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for device in devices {
            if let Some(peer) = self.peer(&device)?.get() {
                let mut sessions = peer.sessions.iter().map(|entry| (device, entry.id));
                first.extend(sessions.next());
                others.extend(sessions);
            }
        }
        first.append(&mut others);
        Ok(first)
    }

    /// None if the message is not this session's.
    fn try_session(
        &mut self,
        context: &Context<'_>,
        kind: MessageKind,
        device: &DeviceId,
        session: &SessionId,
        message: &[u8],
    ) -> Result<Option<Outcome>, DeviceError> {
        match self.decrypt(session, message)? {
            Ok(content) => {
                let content = zeroize::Zeroizing::new(content);
                self.received(context, kind, device, session, message, &content, Vec::new()).map(Some)
            }
            Err(Error::UnknownSession) => Ok(None),
            Err(error) => {
                // Otherwise the header has authenticated, and it is the way that has damaged the rest. Were that a mark,
                // who damages a message on purpose would see by the bundle that is fetched whose it was.
                // Nor does the same message mark twice, for who keeps it.
                if matches!(error, Error::TooFarAhead | Error::PeerRolledBack) {
                    let mark = fingerprint(message);
                    let peer = self.peer(device)?;
                    if peer.get().is_some_and(|peer| !peer.marks.contains(&mark))
                        && let Some(peer) = peer.change()
                    {
                        remember(&mut peer.marks, mark, MAX_MARKS);
                        self.give_up(context, device, session)?;
                    }
                }
                Ok(Some(Outcome::Refused(error.into())))
            }
        }
    }

    /// A message has authenticated, of a session of this device's.
    #[allow(clippy::too_many_arguments, reason = "what is known of one message; it is called in two places")]
    pub(super) fn received(
        &mut self,
        context: &Context<'_>,
        kind: MessageKind,
        device: &DeviceId,
        session: &SessionId,
        message: &[u8],
        content: &[u8],
        mut events: Vec<Event>,
    ) -> Result<Outcome, DeviceError> {
        let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
        let sender = Address { user: peer.user, device: *device };
        remember(&mut peer.seen, fingerprint(message), MAX_SEEN);
        self.follow(context, device, session, kind)?;
        let mut out = Vec::new();
        let Some(mut met) = self.meet_again(&sender)? else {
            self.forget_device(&sender)?;
            out.push(self.put_inbox(sender, Event::ListRefused(Refusal::NotInList))?);
            return Ok(Outcome::Received(out));
        };
        events.append(&mut met);
        if self.user(&sender.user)?.get().is_some_and(|user| user.trust == Trust::Blocked) {
            // It counts as arrived: else it would be asked for, and come, when the user is not blocked any more.
            if let Ok(Content { body: Some(body), .. }) = Content::decode(content)
                && let Some(peer) = self.peer(device)?.change()
            {
                peer.receiving.arrived(&body, session, context.now);
            }
            return Ok(Outcome::Received(out));
        }
        let content = Content::decode(content);
        match &content {
            Ok(content) => self.read_content(context, &sender, session, content, &mut events)?,
            Err(_) => events.push(Event::NotUnderstood),
        }
        let body = content.ok().and_then(|content| content.body);
        let used_twice = body.filter(|_| events.contains(&Event::PeerRolledBack));
        self.follow_rollback(context, device, session, used_twice.map(|body| body.place.stream))?;
        for event in events {
            let own =
                Address { user: self.me()?.get().ok_or(DeviceError::NoDevice)?.user, device: context.device };
            let from = if event == Event::Unlinked { own } else { sender };
            out.push(self.put_inbox(from, event)?);
        }
        Ok(Outcome::Received(out))
    }

    pub(super) fn put_inbox(&mut self, from: Address, event: Event) -> Result<Received, DeviceError> {
        let name = random_bytes()?;
        let record = InboxRecord { user: from.user, device: from.device, event };
        self.add(name, &record)?;
        Ok(Received { id: InboxId(name), from, event: record.event, redelivered: false })
    }
}

/// Keeps the last so many.
pub(super) fn remember<T>(seen: &mut Vec<T>, new: T, most: usize) {
    let excess = (seen.len() + 1).saturating_sub(most);
    seen.drain(..excess);
    seen.push(new);
}

pub(super) fn fingerprint(message: &[u8]) -> [u8; 8] {
    let [fingerprint @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        kdf::hash(Label::MESSAGE_SEEN, &[message]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered() {
        let mut seen = Vec::new();
        for number in 0..100 {
            remember(&mut seen, number, MAX_SEEN);
            let first = (number + 1_usize).saturating_sub(MAX_SEEN);
            assert_eq!(seen, (first..=number).collect::<Vec<_>>());
        }
    }
}

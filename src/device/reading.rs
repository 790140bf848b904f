//! What a message says that has opened.
//!
//! Not its concern: which session it came in.

use super::{
    Context, DeviceError, Event, Refusal, Trust,
    content::{Body, Content, Meaning, Place, StreamId},
    lists::read_list,
    receive::{MAX_IDS, fingerprint, remember},
    streams::{Acknowledged, Arrival, Sending},
    vault::random_bytes,
    work::Work,
};
use crate::{Address, DeviceId, DeviceList, SessionId, UserId, store::Store};

impl<S: Store> Work<'_, S> {
    pub(super) fn read_content(
        &mut self,
        context: &Context<'_>,
        sender: &Address,
        session: &SessionId,
        content: &Content<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), DeviceError> {
        let own = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        for list in &content.lists {
            let taken = self
                .carried_list(list, &[sender.user, own])
                .and_then(|list| list.map(|list| self.take_list(context, &list)).transpose());
            match taken {
                Ok(None) => events.push(Event::NotUnderstood),
                Ok(Some(taken)) => {
                    events.extend(taken.changed);
                    events.extend(taken.unlinked.then_some(Event::Unlinked));
                    events.extend(taken.refused.map(Event::ListRefused));
                }
                // An older one comes from who does not know better yet.
                Err(DeviceError::Refused(Refusal::Older)) => {}
                Err(DeviceError::Refused(refusal)) => events.push(Event::ListRefused(refusal)),
                Err(DeviceError::Message(_)) => events.push(Event::ListRefused(Refusal::Forged)),
                Err(error) => return Err(error),
            }
        }
        if self.peer(&sender.device)?.get().is_none() {
            // By the list that it sent itself, or by a newer one, the sender is not the user's any more.
            events.push(Event::ListRefused(Refusal::NotInList));
            return Ok(());
        }
        if let Some(certificate) = content.certificate
            && sender.user == own
        {
            self.take_certificate(context, certificate)?;
        }
        events.append(&mut self.compare_claims(sender, content)?);
        if let Some(ack) = &content.ack {
            self.acknowledged(&sender.device, ack, events)?;
        }
        let mut arrival = None;
        if let Some(peer) = self.peer(&sender.device)?.change() {
            // First its own number: nothing is lost by coming.
            arrival = content.body.map(|body| (body, peer.receiving.arrived(&body, session, context.now)));
            lost(peer.receiving.gone(&content.gone), events);
            lost(peer.receiving.give_up_late(context.now), events);
        }
        if let Some((body, arrival)) = &arrival {
            self.read_body(context, sender, &own, body, arrival, events)?;
        }
        self.note_asks(context, &sender.device, &content.asks)
    }

    /// A list that came in a message; none if it is of another user: those are none of the sender's business, and each
    /// would leave a record here. Up to 33 signatures are verified only where that is needed.
    fn carried_list(&mut self, bytes: &[u8], users: &[UserId]) -> Result<Option<DeviceList>, DeviceError> {
        // Only to see whose it says that it is, and whether it is known already.
        let unverified = DeviceList::from_sealed_state(bytes)?;
        if !users.contains(unverified.user_id()) {
            return Ok(None);
        }
        let known = self.user(unverified.user_id())?.get().and_then(|record| record.list.as_deref());
        if known == Some(bytes) {
            return Ok(Some(unverified));
        }
        read_list(bytes).map(Some)
    }

    pub(super) fn acknowledged(
        &mut self,
        device: &DeviceId,
        ack: &Place,
        events: &mut Vec<Event>,
    ) -> Result<(), DeviceError> {
        let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
        match peer.sending.acknowledge(ack) {
            Acknowledged::Nothing => {}
            Acknowledged::Numbers(numbers) => self.erase_resend(device, ack.stream, numbers),
            Acknowledged::Beyond => {
                // The numbers that come next were used before.
                let (stream, numbers) = (peer.sending.stream, peer.sending.acknowledged..peer.sending.next);
                peer.sending = Sending::new(StreamId(random_bytes()?));
                self.erase_resend(device, stream, numbers);
                events.push(Event::RolledBack);
            }
        }
        Ok(())
    }

    pub(super) fn read_body(
        &mut self,
        context: &Context<'_>,
        sender: &Address,
        own: &UserId,
        body: &Body<'_>,
        arrival: &Arrival,
        events: &mut Vec<Event>,
    ) -> Result<(), DeviceError> {
        let peer = self.peer(&sender.device)?.change().ok_or(DeviceError::Damaged)?;
        match arrival {
            Arrival::New { lost: count } => lost(*count, events),
            Arrival::Late => return Ok(()),
            // It was late, and was asked for: both have come, in whichever order.
            Arrival::Again if body.resent || peer.ids.contains(&body.fingerprint()) => return Ok(()),
            Arrival::Again => events.push(Event::PeerRolledBack),
        }
        if peer.ids.contains(&body.fingerprint()) {
            // Its sender did not know that it had been sent.
            return Ok(());
        }
        remember(&mut peer.ids, body.fingerprint(), MAX_IDS);
        let (id, resent) = (body.id, body.resent);
        let event = match Meaning::decode(body) {
            Ok(Some(Meaning::Message(text))) => {
                let (content, attachments) = text.into_owned();
                Event::Message { id, content, attachments, resent }
            }
            Ok(Some(Meaning::Sent { to, text })) if sender.user == *own => {
                self.note_written_to(&to)?;
                let (content, attachments) = text.into_owned();
                Event::SentElsewhere { id, to, content, attachments }
            }
            Ok(Some(Meaning::Trust { user, trust, since })) if sender.user == *own => {
                match Trust::from_byte(trust) {
                    Some(trust) if self.note_trust(context, &user, trust, since)? => {
                        Event::TrustChanged { of: user, trust }
                    }
                    Some(_) => return Ok(()),
                    None => Event::NotUnderstood,
                }
            }
            _ => Event::NotUnderstood,
        };
        events.push(event);
        Ok(())
    }
}

fn lost(count: u32, events: &mut Vec<Event>) {
    if count > 0 {
        events.push(Event::Lost(count));
    }
}

impl Body<'_> {
    /// Of its id, and of who it is for where that is another user.
    pub(super) fn fingerprint(&self) -> [u8; 8] {
        let to = self.addressee().map_or(&[][..], |to| to);
        fingerprint(&[&self.id.to_bytes()[..], &[self.kind], to].concat())
    }
}

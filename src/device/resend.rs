//! Messages that were lost: kept for being asked for, by the very device that they were for, and sent again.
//!
//! ```text
//! asked for ── noted ──> with the next message to that device, or an hour later by `maintain` ──> sent again
//! ```
//! Never by receiving: a message that leaves when one arrives tells who delivers both who writes to whom.
//!
//! Not its concern: what is missing here (`streams`).

use std::collections::BTreeSet;

use super::{
    Context, DeviceError, MessageId, Missing, Outgoing,
    content::{Body, MAX_NUMBERS, Meaning, Place, StreamId},
    records::{PeerRecord, ResendRecord, Standing, Table},
    streams::Sending,
    work::Work,
};
use crate::{
    Address, DeviceId, UnixTime,
    keys::{DAY, HOUR},
    store::Store,
};

/// How often a message is sent again.
const MAX_ANSWERS: u8 = 2;
/// Seconds for which what was sent may be asked for.
pub(super) const RESEND_PERIOD: u64 = 14 * DAY;
/// How much is told to be gone, until it is told.
const MAX_GONE: usize = 256;
/// How much that a device asks for is noted, until it is sent.
const MAX_ASKED: usize = MAX_RESEND as usize;
/// Seconds after which what was asked for is sent without anything else to send: long enough that it does not follow what
/// it was asked for in.
const ANSWER_AFTER: u64 = HOUR;
/// The longest message that is kept for being asked for.
const MAX_RESEND_LEN: usize = 64 * 1024;
/// How many messages are kept for being asked for, of each device.
pub(super) const MAX_RESEND: u32 = 256;

impl<S: Store> Work<'_, S> {
    pub(super) fn keep_for_resending(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        place: &Place,
        id: MessageId,
        kind: u8,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let settings = self.me()?.get().ok_or(DeviceError::NoDevice)?.settings;
        if settings.resend && bytes.len() <= MAX_RESEND_LEN {
            let record = ResendRecord { id, kind, bytes: bytes.to_vec(), sent: context.now, answers: 0 };
            self.put(&resend_name(device, place), &record)?;
        }
        if let Some(number) = place.number.checked_sub(MAX_RESEND) {
            self.delete(Table::Resend, &resend_name(device, &Place { number, ..*place }));
        }
        Ok(())
    }

    /// Notes what a device asks for. Not strangers: they would see by the answer when this device is used.
    pub(super) fn note_asks(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        asks: &[Place],
    ) -> Result<(), DeviceError> {
        if asks.is_empty() {
            return Ok(());
        }
        let user = self.peer(device)?.get().ok_or(DeviceError::Damaged)?.user;
        if self.user(&user)?.get().is_none_or(|user| user.standing != Standing::Contact) {
            return Ok(());
        }
        let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
        for place in asks {
            if peer.asked.len() < MAX_ASKED && peer.asked.iter().all(|(asked, _)| asked != place) {
                peer.asked.push((*place, context.now));
            }
        }
        Ok(())
    }

    /// Sends again what a device has asked for long enough ago, if anything may be sent to it.
    pub(super) fn answer_late(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
    ) -> Result<(), DeviceError> {
        let Some(me) = self.me()?.get().filter(|me| !me.unlinked) else { return Ok(()) };
        let own = me.user;
        self.drop_damaged(device)?;
        let Some(peer) = self.peer(device)?.get().filter(|peer| peer.is_waiting(context.now)) else {
            return Ok(());
        };
        let user = peer.user;
        let devices = match self.devices_of(context, &user, &own, &mut Missing::default()) {
            Err(DeviceError::Blocked) => return Ok(()),
            devices => devices?,
        };
        // A session that is marked is replaced by what is sent there next, if it may be.
        if devices.iter().any(|key| DeviceId::of(key) == *device) && !self.is_marked(context, device)? {
            self.answer(context, device, |since| since.is_over(ANSWER_AFTER, context.now))?;
        }
        Ok(())
    }

    /// Sends again what a device has asked for by then, and is kept for it: no more at once than is asked for in one message.
    pub(super) fn answer(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        is_due: impl Fn(UnixTime) -> bool,
    ) -> Result<Vec<Outgoing>, DeviceError> {
        let mut sent = Vec::new();
        if self.peer(device)?.get().is_none_or(|peer| peer.asked.is_empty()) {
            return Ok(sent);
        }
        let resend = self.me()?.get().is_some_and(|me| me.settings.resend);
        let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
        // In the order in which they came, so that those that are due come first.
        let due = peer.asked.iter().take(MAX_NUMBERS).take_while(|(_, since)| is_due(*since)).count();
        let asked: BTreeSet<_> = peer.asked.drain(..due).map(|(place, _)| place).collect();
        for place in &asked {
            let name = resend_name(device, place);
            let kept = match self.read::<ResendRecord>(&name) {
                Err(DeviceError::Damaged) => None,
                kept => kept?,
            };
            let fits = |kept: &ResendRecord| {
                resend && kept.answers < MAX_ANSWERS && !kept.sent.is_over(RESEND_PERIOD, context.now)
            };
            match kept.filter(fits) {
                Some(mut kept) => {
                    kept.answers += 1;
                    self.put(&name, &kept)?;
                    let body = Body {
                        place: *place,
                        id: kept.id,
                        resent: true,
                        kind: kept.kind,
                        bytes: &kept.bytes,
                    };
                    sent.push(self.send_content(context, device, Some(body))?);
                }
                None => {
                    let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
                    if peer.gone.len() < MAX_GONE && !peer.gone.contains(place) {
                        peer.gone.push(*place);
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Deletes what was kept for being asked for.
    pub(super) fn erase_resend(
        &mut self,
        device: &DeviceId,
        stream: StreamId,
        numbers: core::ops::Range<u32>,
    ) {
        for number in kept(&numbers) {
            self.delete(Table::Resend, &resend_name(device, &Place { stream, number }));
        }
    }

    /// The app's messages for the user of a device that it has not acknowledged, as far as they are kept for being asked for; and
    /// when they were sent.
    pub(super) fn unacknowledged(
        &mut self,
        Address { user, device }: &Address,
    ) -> Result<Vec<(UnixTime, MessageId)>, DeviceError> {
        let mut ids = Vec::new();
        let peer = match self.peer(device) {
            Err(DeviceError::Damaged) => return Ok(ids),
            peer => peer?.get().filter(|peer| peer.user == *user),
        };
        let Some(&Sending { stream, next, acknowledged }) = peer.map(|peer| &peer.sending) else {
            return Ok(ids);
        };
        for number in kept(&(acknowledged..next)) {
            match self.read::<ResendRecord>(&resend_name(device, &Place { stream, number })) {
                Ok(Some(record)) if record.kind == Meaning::MESSAGE => ids.push((record.sent, record.id)),
                // It is only to be told: what does not open is no reason to leave the device in.
                Ok(_) | Err(DeviceError::Damaged | DeviceError::UnsupportedVersion) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ids)
    }
}

/// Which of the numbers that were not acknowledged are kept, at most.
fn kept(numbers: &core::ops::Range<u32>) -> core::ops::Range<u32> {
    numbers.end.saturating_sub(MAX_RESEND).max(numbers.start)..numbers.end
}

impl PeerRecord {
    /// Whether something has been asked for long enough to be sent by itself.
    pub(super) fn is_waiting(&self, now: UnixTime) -> bool {
        self.asked.first().is_some_and(|(_, since)| since.is_over(ANSWER_AFTER, now))
    }
}

/// The name of what a device may ask for.
pub(super) fn resend_name(device: &DeviceId, place: &Place) -> Vec<u8> {
    [&device.to_bytes()[..], &place.stream.0, &place.number.to_be_bytes()].concat()
}

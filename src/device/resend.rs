//! Messages that were lost: kept for being asked for, by the very device that they were for, and sent again.
//!
//! Not its concern: what is missing here (`streams`).

use std::collections::BTreeSet;

use super::{
    Context, DeviceError, MessageId, Outgoing,
    content::{Body, Place, StreamId},
    records::{ResendRecord, Standing, Table},
    work::Work,
};
use crate::{DeviceId, store::Store};

/// How often a message is sent again.
const MAX_ANSWERS: u8 = 2;
/// Seconds for which what was sent may be asked for.
pub(super) const RESEND_PERIOD: u64 = 14 * 24 * 60 * 60;
/// How much is told to be gone, until it is told.
const MAX_GONE: usize = 256;
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

    /// Sends again what a device asks for, and is kept for it. Not to strangers: they would see by it when this device is
    /// used.
    pub(super) fn answer(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        asks: &[Place],
    ) -> Result<(), DeviceError> {
        if self.me()?.get().is_none_or(|me| me.unlinked) {
            return Ok(());
        }
        let user = self.peer(device)?.get().ok_or(DeviceError::Damaged)?.user;
        if self.user(&user)?.get().is_none_or(|user| user.standing != Standing::Contact) {
            return Ok(());
        }
        for place in asks.iter().collect::<BTreeSet<_>>() {
            let name = resend_name(device, place);
            let kept = self.read::<ResendRecord>(&name)?;
            let fits = |kept: &ResendRecord| {
                kept.answers < MAX_ANSWERS && !kept.sent.is_over(RESEND_PERIOD, context.now)
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
                    let _in_the_outbox: Outgoing = self.send_content(context, device, Some(body))?;
                }
                None => {
                    let peer = self.peer(device)?.change().ok_or(DeviceError::Damaged)?;
                    if peer.gone.len() < MAX_GONE && !peer.gone.contains(place) {
                        peer.gone.push(*place);
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes what was kept for being asked for.
    pub(super) fn erase_resend(
        &mut self,
        device: &DeviceId,
        stream: StreamId,
        numbers: core::ops::Range<u32>,
    ) {
        let kept = numbers.end.saturating_sub(MAX_RESEND).max(numbers.start);
        for number in kept..numbers.end {
            self.delete(Table::Resend, &resend_name(device, &Place { stream, number }));
        }
    }
}

/// The name of what a device may ask for.
pub(super) fn resend_name(device: &DeviceId, place: &Place) -> Vec<u8> {
    [&device.to_bytes()[..], &place.stream.0, &place.number.to_be_bytes()].concat()
}

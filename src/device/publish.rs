//! Prekeys: made durable before anybody sees them, and shown again until they have arrived.
//!
//! Not its concern: private keys ([`PreKeys`](crate::PreKeys)); the server.

use super::{Context, DeviceError, records::Published, work::Work};
use crate::{Address, DeviceList, IdentityKey, OneTimePreKey, SignedPreKey, keys::PreKeyId, store::Store};

/// With fewer one-time prekeys on the server than this, more are made.
pub const LOW_WATER: usize = 20;
/// How many a server has, then.
const STOCK: usize = 100;

/// What a server has to have so that others can write to a device. It is all public, and signed.
///
/// Without a server, to meet one peer directly: make it a bundle of one of the one-time prekeys, and say that this one is
/// [published](crate::Device::published) (leaving the others out of `one_time_prekeys`). The others will be shown again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// Whose it is.
    pub address: Address,
    /// The device's identity key: goes into bundles.
    pub identity_key: IdentityKey,
    /// The user's devices: replaces the list that the server has, if its version is higher.
    pub list: DeviceList,
    /// Replaces the one that the server has: goes into bundles.
    pub signed_prekey: SignedPreKey,
    /// To be added to those that the server has, **if it has never had them**: each goes into one bundle, and one that
    /// comes back after it was handed out makes a first message that nobody can read. A server tells them apart by their
    /// bytes, or a hash of them.
    pub one_time_prekeys: Vec<OneTimePreKey>,
}

impl<S: Store> Work<'_, S> {
    pub(super) fn publication(
        &mut self,
        context: &Context<'_>,
        on_server: usize,
    ) -> Result<Publication, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        if me.unlinked {
            return Err(DeviceError::Unlinked);
        }
        let user = me.user;
        let list = self.user(&user)?.get().ok_or(DeviceError::Damaged)?.newest_list()?;
        let pending = self.published()?.get().map_or_else(Vec::new, |published| published.pending.clone());
        let prekeys = self.prekeys()?.get().ok_or(DeviceError::Damaged)?;
        let signed_prekey = prekeys.signed_prekey();
        let mut one_time_prekeys = prekeys.hand_out_again(&pending);
        let there = on_server.saturating_add(one_time_prekeys.len());
        if there < LOW_WATER {
            let more = u16::try_from(STOCK - there).unwrap_or(0);
            let prekeys = self.prekeys()?.change().ok_or(DeviceError::Damaged)?;
            let unused = prekeys.not_handed_out();
            prekeys.refill(context.identity, more.saturating_sub(u16::try_from(unused).unwrap_or(more)))?;
            one_time_prekeys.extend(prekeys.hand_out(more));
        }
        let ids: Vec<PreKeyId> = one_time_prekeys.iter().map(OneTimePreKey::id).collect();
        if ids != pending {
            self.published_or_new()?.pending = ids;
        }
        Ok(Publication {
            address: Address { user, device: context.device },
            identity_key: *context.identity.identity_key(),
            list: list.ok_or(DeviceError::Damaged)?,
            signed_prekey,
            one_time_prekeys,
        })
    }

    /// The server has it all.
    pub(super) fn published_now(&mut self, publication: &Publication) -> Result<(), DeviceError> {
        let arrived: Vec<_> = publication.one_time_prekeys.iter().map(OneTimePreKey::id).collect();
        let published = self.published_or_new()?;
        published.pending.retain(|id| !arrived.contains(id));
        published.signed = Some(publication.signed_prekey.id());
        published.list = published.list.max(publication.list.version());
        Ok(())
    }

    /// Whether something was made that has not arrived.
    pub(super) fn has_to_publish(&mut self) -> Result<bool, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        let (user, unlinked) = (me.user, me.unlinked);
        let list = self.user(&user)?.get().and_then(|record| record.known).map_or(0, |known| known.version);
        let signed = self.prekeys()?.get().ok_or(DeviceError::Damaged)?.signed_prekey().id();
        let done = self.published()?.get().is_some_and(|published| {
            published.pending.is_empty() && published.signed == Some(signed) && published.list >= list
        });
        Ok(!done && !unlinked)
    }

    fn published_or_new(&mut self) -> Result<&mut Published, DeviceError> {
        let slot = self.published()?;
        if slot.get().is_none() {
            slot.put(Published::default());
        }
        slot.change().ok_or(DeviceError::Damaged)
    }
}

//! Bundles that were fetched for a device: kept, or noted that there is none to be had.
//!
//! Not its concern: which are needed, and what is begun from them (`send`).

use super::{Context, Device, DeviceError, records::BundleRecord, work::Work};
use crate::{Address, DeviceId, Error, IdentityKey, PreKeyBundle, UnixTime, VerifiedBundle, store::Store};

/// What became of what a server had as a device's bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleOutcome {
    /// It is kept until it is used or has expired.
    Kept {
        /// Whether it came with a one-time prekey. A server that has none for anybody may be draining them, or withholds
        /// them: see [`VerifiedBundle::has_one_time_prekey`].
        one_time_prekey: bool,
    },
    /// The server has none.
    Absent,
    /// It is of no use: [expired](Error::Expired), since the device has been off for long; made under
    /// [a clock that was ahead](Error::NotYetValid); [forged](Error::InvalidSignature);
    /// [another device's](Error::WrongIdentity); or not to be read.
    Unusable(Error),
}

impl<S: Store> Device<S> {
    /// Takes in what the server has as the bundle of a device, which [`DeviceError::Missing`] has named; nothing, if it has
    /// none. A bundle is kept until it is used or has expired. Without one that is of use messages go to the user's other
    /// devices alone, for a day; this one may ask for them later. So whatever a server gives, the next
    /// [`send`](Self::send) does not ask for it again.
    ///
    /// # Errors
    /// [`DeviceError::UnknownUser`]; [`DeviceError::UnknownDevice`] if it is not in the user's list;
    /// [`DeviceError::Store`].
    pub fn provide_bundle(
        &mut self,
        address: &Address,
        fetched: Option<&[u8]>,
    ) -> Result<BundleOutcome, DeviceError> {
        let now = (self.clock)();
        let verified =
            fetched.map(|bytes| (bytes, PreKeyBundle::from_bytes(bytes).and_then(|it| it.verify(now))));
        self.run(|work, context, _| {
            let record = work.user(&address.user)?.get().ok_or(DeviceError::UnknownUser)?;
            let list = record.newest_list()?.ok_or(DeviceError::UnknownDevice)?;
            let key = *list.identity_key(&address.device).ok_or(DeviceError::UnknownDevice)?;
            let outcome = match &verified {
                None => BundleOutcome::Absent,
                Some((_, Err(error))) => BundleOutcome::Unusable(*error),
                Some((_, Ok(bundle))) if *bundle.identity_key() != key => {
                    BundleOutcome::Unusable(Error::WrongIdentity)
                }
                Some((bytes, Ok(bundle))) => {
                    if let Some(peer) = work.peer(&address.device)?.change() {
                        peer.unreachable_since = UnixTime::from_secs(0);
                    }
                    work.put(&address.device.to_bytes(), &BundleRecord { bytes: bytes.to_vec() })?;
                    return Ok(BundleOutcome::Kept { one_time_prekey: bundle.has_one_time_prekey() });
                }
            };
            work.peer_or_new(address, &key)?.unreachable_since = context.now;
            Ok(outcome)
        })
    }
}

impl<S: Store> Work<'_, S> {
    /// A fetched bundle of a device, if there is one that can be used.
    pub(super) fn bundle(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        key: &IdentityKey,
    ) -> Result<Option<Box<VerifiedBundle>>, DeviceError> {
        let record = match self.read::<BundleRecord>(&device.to_bytes()) {
            // It is fetched once more.
            Err(DeviceError::Damaged) => None,
            record => record?,
        };
        let Some(record) = record else { return Ok(None) };
        let verified = PreKeyBundle::from_bytes(&record.bytes).and_then(|bundle| bundle.verify(context.now));
        Ok(verified.ok().filter(|bundle| bundle.identity_key() == key).map(Box::new))
    }
}

//! Device lists: who may speak for a user.
//!
//! ```text
//! list ── signatures ──> whose? ──> follows what is known? ──> its time? ──> in force: who is gone loses its sessions
//! ```
//! A list gets here from the server ([`provide`](crate::Device::provide)) or inside a message; either way the same is
//! checked, since neither is believed.
//!
//! Not its concern: how a list is signed.

use std::collections::BTreeSet;

use super::{
    Context, DeviceError, Event, Received, Refusal, Trust,
    content::Meaning,
    records::{Fetched, Me, Standing, Table, UserRecord},
    work::{FETCHED, Work},
};
use crate::{
    Address, DeviceId, DeviceList, Error, IdentityKey, UnixTime, UserId,
    crypto::sign::Signature,
    roster::{self, Certificate, KnownList, PAYLOAD_LEN, Payload, RootKey, Succession},
    store::Store,
};

/// What became of a list that was taken into force.
pub(super) struct Taken {
    pub(super) user: UserId,
    /// What has changed, if another one was known.
    pub(super) changed: Option<Event>,
    /// Why it is not in force: another one is needed before anything is sent.
    pub(super) refused: Option<Refusal>,
    /// This device is out.
    pub(super) unlinked: bool,
}

fn device_ids(list: &DeviceList) -> Vec<DeviceId> {
    list.devices().map(DeviceId::of).collect()
}

impl UserRecord {
    pub(super) fn new(id: UserId, known: Option<KnownList>, list: Option<&DeviceList>) -> Self {
        Self {
            id,
            trust: Trust::default(),
            standing: Standing::Listed,
            trust_since: UnixTime::from_secs(0),
            known: known.or(list.map(DeviceList::known)),
            rumoured: 0,
            taken: list.map_or(0, DeviceList::version),
            listed: list.map_or_else(Vec::new, device_ids),
            list: list.map(DeviceList::to_bytes),
            devices: Vec::new(),
            begun: 0,
            begun_since: UnixTime::from_secs(0),
        }
    }

    /// The list that is here, also if it was replaced.
    pub(super) fn newest_list(&self) -> Result<Option<DeviceList>, DeviceError> {
        let list = self.list.as_deref().map(DeviceList::from_sealed_state).transpose();
        list.map_err(DeviceError::from_record)
    }
}

impl<S: Store> Work<'_, S> {
    /// Takes a list into force: who it says is gone loses its sessions. One that has expired, or is valid for too long, is good
    /// for that alone.
    ///
    /// # Errors
    /// [`DeviceError::Refused`]; then nothing has changed.
    pub(super) fn take_list(
        &mut self,
        context: &Context<'_>,
        list: &DeviceList,
    ) -> Result<Taken, DeviceError> {
        let user = *list.user_id();
        let record = self.user(&user)?.get();
        let before = record.map(UserRecord::newest_list).transpose()?.flatten();
        let refused = out_of_force(list.expires(), context.now);
        let mut again = false;
        if let Some(known) = record.and_then(|record| record.known) {
            match list.compare(&known) {
                Succession::Same if record.is_some_and(|record| record.taken == list.version()) => {
                    again = true
                }
                Succession::Same | Succession::Newer => {}
                Succession::Older => return Err(Refusal::Older.into()),
                Succession::Forked => return Err(Refusal::Forked.into()),
            }
        }
        // One that was not in force when it came is not here: the clock may have been wrong.
        if again
            && (refused.is_some() || before.as_ref().is_some_and(|before| before.version() == list.version()))
        {
            // Whoever has named a newer one did not show it, and the server has none.
            if record.is_some_and(|record| record.rumoured > 0)
                && let Some(record) = self.user(&user)?.change()
            {
                record.rumoured = 0;
            }
            return Ok(Taken { user, changed: None, refused, unlinked: false });
        }
        if let (Some(refused), None) = (refused, record) {
            return Err(refused.into());
        }
        // Devices that have written before a list came that has them.
        let written = record.map_or_else(Vec::new, |record| record.devices.clone());
        let taken = record.is_some_and(|record| record.taken > 0);
        let known = record.filter(|_| taken).map_or_else(|| written.clone(), |record| record.listed.clone());
        let after = device_ids(list);
        let mut removed: Vec<_> = known.iter().filter(|device| !after.contains(device)).copied().collect();
        removed.extend(written.iter().filter(|device| !known.contains(device) && !after.contains(device)));
        let added: Vec<_> = after.iter().filter(|device| !known.contains(device)).copied().collect();
        let mut unacknowledged = Vec::new();
        for address in removed.iter().map(|device| Address { user, device: *device }) {
            unacknowledged.extend(self.unacknowledged(&address)?);
            self.forget_device(&address)?;
        }
        unacknowledged.sort_by_key(|(sent, _)| *sent);
        let mut unacknowledged: Vec<_> = unacknowledged.into_iter().map(|(_, id)| id).collect();
        // Of a user of whom nothing is known any more, as the record was damaged, something may wait, too.
        if !removed.is_empty() || !taken {
            self.drop_outbox(|out| {
                let dropped = out.user == user && !after.contains(&out.device);
                let of_app = out.message.filter(|_| dropped && out.kind == Meaning::MESSAGE);
                unacknowledged.extend(of_app);
                dropped
            })?;
        }
        let mut named = BTreeSet::new();
        unacknowledged.retain(|id| named.insert(*id));
        let own = self.me()?.get().is_some_and(|me| me.user == user);
        let slot = self.user(&user)?;
        match slot.change() {
            Some(record) => {
                record.known = Some(list.known());
                record.taken = list.version();
                record.listed = after;
                // This user's own is sent by, and renewed from, all the same.
                if refused.is_none() || own {
                    record.list = Some(list.to_bytes());
                    record.rumoured = 0;
                }
            }
            None => {
                slot.put(UserRecord::new(user, None, Some(list)));
            }
        }
        let unlinked = self.note_own_list(context, list)?;
        if unlinked {
            // It may not send any more, and what it has made is refused.
            self.drop_outbox(|_| true)?;
        }
        let news = !again && (taken && !added.is_empty() || !removed.is_empty());
        let changed = news.then_some(Event::DevicesChanged { of: user, added, removed, unacknowledged });
        Ok(Taken { user, changed, refused, unlinked })
    }

    /// A list that was fetched: what there is to show, and why it is not in force, if it is not. An older one of this device's own user
    /// is what a server has that was not published to yet.
    pub(super) fn provide_list(
        &mut self,
        context: &Context<'_>,
        list: &DeviceList,
    ) -> Result<(Vec<Received>, Option<Refusal>), DeviceError> {
        let own = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        if *list.user_id() == own {
            self.put(FETCHED, &Fetched { own_list: context.now })?;
        }
        let taken = match self.take_list(context, list) {
            Err(DeviceError::Refused(Refusal::Older)) if *list.user_id() == own => {
                return Ok((Vec::new(), None));
            }
            taken => taken?,
        };
        let about = Address { user: taken.user, device: context.device };
        let events = taken.changed.into_iter().chain(taken.unlinked.then_some(Event::Unlinked));
        let shown = events.map(|event| self.put_inbox(about, event)).collect::<Result<_, _>>()?;
        // Its own user's is sent by all the same.
        Ok((shown, taken.refused.filter(|_| taken.user != own)))
    }

    /// A new list of this user may not have this device any more: whether that is news.
    fn note_own_list(&mut self, context: &Context<'_>, list: &DeviceList) -> Result<bool, DeviceError> {
        let me = self.me()?;
        if let Some(Me { user, unlinked, .. }) = me.get()
            && user == list.user_id()
            && *unlinked == list.contains(&context.device)
            && let Some(me) = me.change()
        {
            me.unlinked = !me.unlinked;
            return Ok(me.unlinked);
        }
        Ok(false)
    }

    /// Forgets everything about a device: its sessions, what was kept for it.
    pub(super) fn forget_device(&mut self, address: &Address) -> Result<(), DeviceError> {
        let peer = match self.peer(&address.device) {
            Err(DeviceError::Damaged) => {
                // What else there is of it cannot be found any more.
                self.delete(Table::Peers, &address.device.to_bytes());
                self.delete(Table::Bundles, &address.device.to_bytes());
                if let Some(user) = self.user(&address.user)?.change() {
                    user.devices.retain(|device| device != &address.device);
                }
                return Ok(());
            }
            peer => peer?.get(),
        };
        let Some(peer) = peer else {
            // Nothing was begun from it yet.
            self.delete(Table::Bundles, &address.device.to_bytes());
            return Ok(());
        };
        if peer.user != address.user {
            return Ok(());
        }
        let sessions: Vec<_> = peer.sessions.iter().map(|entry| entry.id).collect();
        let (stream, numbers) = (peer.sending.stream, peer.sending.acknowledged..peer.sending.next);
        for session in &sessions {
            self.forget_session(session)?;
        }
        self.erase_resend(&address.device, stream, numbers);
        self.delete(Table::Bundles, &address.device.to_bytes());
        self.peer(&address.device)?.delete();
        if let Some(user) = self.user(&address.user)?.change() {
            user.devices.retain(|device| device != &address.device);
        }
        Ok(())
    }

    /// What a message says about lists: marks what is to be fetched.
    pub(super) fn compare_claims(
        &mut self,
        sender: &Address,
        content: &super::content::Content<'_>,
    ) -> Result<Vec<Event>, DeviceError> {
        let own = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        let mut events = Vec::new();
        for (user, claim) in [(sender.user, &content.own_list), (own, &content.peer_list)] {
            let Some(record) = self.user(&user)?.get() else { continue };
            let known = record.known;
            let ours = super::content::Claim::of(known.as_ref());
            if claim.version == ours.version && claim.hash != ours.hash {
                events.push(Event::ListRefused(Refusal::Forked));
            } else if claim.version > ours.version.max(record.rumoured) {
                events.push(Event::NewerList { of: user });
                // Who could name a version that there is not would otherwise stop us from writing to ourselves.
                if user != own
                    && let Some(record) = self.user(&user)?.change()
                {
                    record.rumoured = claim.version;
                }
            }
            if sender.user == own {
                break;
            }
        }
        if let Some(peer) = self.peer(&sender.device)?.change() {
            peer.has_own_list = content.own_list.version;
            peer.has_our_list = content.peer_list.version;
        }
        Ok(events)
    }

    /// A certificate for this device that came from the one with the root key.
    pub(super) fn take_certificate(
        &mut self,
        context: &Context<'_>,
        bytes: &[u8; PAYLOAD_LEN],
    ) -> Result<(), DeviceError> {
        let Ok(Payload { certificate, recipient }) = Payload::from_bytes(bytes) else { return Ok(()) };
        let verified = certificate.verify(context.identity.identity_key());
        let me = self.me()?;
        let fits = |me: &Me| {
            me.user == *certificate.user()
                && me.user == recipient
                && certificate.list().version > me.certificate.list().version
        };
        if verified.is_ok()
            && me.get().is_some_and(fits)
            && let Some(me) = me.change()
        {
            me.certificate = certificate;
        }
        Ok(())
    }

    /// Signs a list with other devices, and takes it into force.
    pub(super) fn change_own_list(
        &mut self,
        context: &Context<'_>,
        change: impl FnOnce(&mut Vec<(IdentityKey, Signature)>),
    ) -> Result<DeviceList, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        let root = RootKey::from_seed(me.root.as_ref().ok_or(DeviceError::NoRootKey)?);
        let user = me.user;
        let record = self.user(&user)?.get().ok_or(DeviceError::Damaged)?;
        let before = record.newest_list()?.ok_or(DeviceError::Damaged)?;
        let mut entries: Vec<_> = before.entries().map(|(key, claim)| (*key, *claim)).collect();
        change(&mut entries);
        let list = DeviceList::sign(&root, Some(&before), entries, context.now)?;
        self.take_list(context, &list)?;
        if let Some((key, claim)) = entry(&list, context.identity.identity_key()) {
            let certificate = Certificate::issue(&root, &key, claim, &list);
            if let Some(me) = self.me()?.change() {
                me.certificate = certificate;
            }
        }
        Ok(list)
    }
}

/// Why a list, or a certificate of one, that ends then is not to go by.
pub(super) fn out_of_force(expires: UnixTime, now: UnixTime) -> Option<Refusal> {
    if now > expires {
        Some(Refusal::Expired)
    } else {
        expires.is_beyond(roster::LIFETIME_DAYS, now).then_some(Refusal::NotYetValid)
    }
}

/// A list that came from somewhere.
pub(super) fn read_list(bytes: &[u8]) -> Result<DeviceList, DeviceError> {
    DeviceList::from_bytes(bytes).map_err(|error| match error {
        Error::InvalidSignature => Refusal::Forged.into(),
        error => DeviceError::from(error),
    })
}

fn entry(list: &DeviceList, key: &IdentityKey) -> Option<(IdentityKey, Signature)> {
    let mut entries = list.entries().map(|(key, claim)| (*key, *claim));
    entries.find(|(entry, _)| entry == key)
}

/// A certificate for another device of this user, as it travels; none if it is not in the list.
pub(super) fn certificate_for(
    root: &RootKey,
    key: &IdentityKey,
    list: &[u8],
) -> Result<Option<[u8; PAYLOAD_LEN]>, DeviceError> {
    let list = DeviceList::from_sealed_state(list).map_err(DeviceError::from_record)?;
    Ok(entry(&list, key).map(|(key, claim)| {
        let certificate = Certificate::issue(root, &key, claim, &list);
        Payload { certificate, recipient: *root.user_id() }.to_bytes()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_in_force_up_to_its_last_second() {
        let now = UnixTime::from_secs(1_800_000_000);
        let later = |seconds| UnixTime::from_secs(now.as_secs() + seconds);
        assert_eq!(out_of_force(now, now), None);
        assert_eq!(out_of_force(now, later(1)), Some(Refusal::Expired));
        // A week more than it may be, for clocks that differ.
        let longest = (roster::LIFETIME_DAYS + 7) * 86_400;
        assert_eq!(out_of_force(later(longest), now), None);
        assert_eq!(out_of_force(later(longest + 1), now), Some(Refusal::NotYetValid));
    }
}

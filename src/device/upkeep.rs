//! What has to be done now and then, users, and settings.

use serde::{Deserialize, Serialize};

use super::{
    Context, Device, DeviceError, Missing, Outgoing, Trust,
    content::Meaning,
    link::{LINK_PERIOD, LinkRecord},
    opening::{KEY_CHECK, check_key},
    queue,
    records::{
        BundleRecord, Fetched, HandshakeRecord, InboxRecord, Me, OutboxRecord, PeerRecord, Published,
        ResendRecord, Standing, Stored, UserRecord,
    },
    resend::RESEND_PERIOD,
    work::{FETCHED, ONLY, Work},
};
use crate::{
    Address, DeviceId, DeviceList, Padding, PreKeyBundle, UnixTime, UserId,
    keys::DAY,
    store::{Action, Change, Expected, Store, StoreError},
};

/// Days before the end of the list of devices when it is signed anew, once it is known to be the newest.
const RENEW_DAYS: u64 = 60;
/// Seconds for which it is known to be that, from when it was fetched: an app maintains once a day, and fetches then.
const KNOWN_NEWEST: u64 = 2 * DAY;
/// Seconds after which another device of the user is told of the list once more, as long as it has not said that it has it.
const TELL_AGAIN_AFTER: u64 = DAY;
/// Days before its end when it is signed anew all the same: a server that withholds it must not have it expire.
const RENEW_UNSEEN_DAYS: u64 = 14;

/// What there is to do with the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tasks {
    /// Whether there is something to [publish](Device::publication). There also is when the server says that it has
    /// fewer one-time prekeys than [`LOW_WATER`](crate::LOW_WATER).
    pub publish: bool,
    /// What to fetch, and [provide](Device::provide): always the list of this device's own user, by which it gets to know
    /// that it was unlinked, also by a backup that was restored.
    pub fetch: Missing,
    /// How many records did not open, and have been deleted: messages in inbox or outbox, what is known of a user or of
    /// a device. What is missing of messages will be asked for by whoever misses it. Tell the app's user if this is not 0: the disk fails,
    /// or somebody has written to it.
    pub damaged: u32,
}

/// How a device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// How lengths are hidden: [`Padding::Buckets`] unless set.
    pub padding: Padding,
    /// Whether what is sent is kept, sealed, until its recipient acknowledges it, so that it can be sent again when it gets
    /// lost: for 14 days at most, the newest 256 messages for each device, those under 64 KiB. It is unless set to `false`.
    pub resend: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { padding: Padding::default(), resend: true }
    }
}

/// What is known of a user. That something is known does not say that they have ever written: whose list was
/// [provided](Device::provide) is known, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserInfo {
    /// Who it is.
    pub id: UserId,
    /// How much they are trusted.
    pub trust: Trust,
    /// They have written, and were neither written to nor verified.
    pub stranger: bool,
    /// When their list of devices expires, if one is here. After that nothing is sent until there is a newer one; who goes on
    /// writing may have been unlinked meanwhile.
    pub list_expires: Option<UnixTime>,
    /// Their devices, by the newest list that is here; none if none is.
    pub devices: Vec<DeviceId>,
}

impl UserInfo {
    pub(super) fn of(record: &UserRecord) -> Self {
        let list = record.newest_list().ok().flatten();
        let devices = list.iter().flat_map(DeviceList::devices).map(DeviceId::of).collect();
        let list_expires = list.as_ref().map(DeviceList::expires);
        let stranger = record.standing == Standing::Stranger;
        Self { id: record.id, trust: record.trust, stranger, list_expires, devices }
    }
}

/// Users and settings.
impl<S: Store> Device<S> {
    /// The user that this is a device of.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.address.user
    }

    /// Where messages for this device go.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// What is known of a user.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn user_info(&self, user: &UserId) -> Result<Option<UserInfo>, DeviceError> {
        let id = self.vault.id(UserRecord::TABLE, &user.to_bytes());
        Ok(self.vault.read::<UserRecord>(&id)?.map(|(_, record)| UserInfo::of(&record)))
    }

    /// Everybody of whom something is known, this user included.
    pub fn users(&self) -> impl Iterator<Item = Result<UserInfo, DeviceError>> + use<'_, S> {
        queue::listing(&self.vault)
    }

    /// Trusts a user so much from now on, on the other devices of this user as well, which get to know it by the
    /// messages returned; they are in the outbox, too. A user that nothing is known of is known from now on.
    ///
    /// # Errors
    /// [`DeviceError::UnknownUser`] for this user, who need not be verified and cannot be blocked; [`DeviceError::Store`].
    pub fn set_trust(&mut self, user: &UserId, trust: Trust) -> Result<Vec<Outgoing>, DeviceError> {
        if *user == self.user() {
            return Err(DeviceError::UnknownUser);
        }
        self.run(|work, context, _| {
            // The last word, also if the one before was given under a clock that was ahead.
            let before = work.user(user)?.get().map(|record| record.trust_since.not_far_ahead(context.now));
            let since = before.map_or(context.now, |before| before.next_second().max(context.now));
            work.note_trust(context, user, trust, since)?;
            let meaning = Meaning::Trust { user: *user, trust: trust as u8, since };
            work.tell_own_devices(context, &meaning)
        })
    }

    /// Forgets a user, their sessions and what was kept for them; not what is in the outbox and the inbox, and not that they are
    /// blocked: for that, [unblock](Self::set_trust) them first. Should they write again they are as new, and what they wrote
    /// before counts as missing. (They may write on in a session that is not here any more, which nobody sees: after a week without an
    /// answer their device begins another.)
    ///
    /// # Errors
    /// [`DeviceError::UnknownUser`], also for this user; [`DeviceError::Store`].
    pub fn forget(&mut self, user: &UserId) -> Result<(), DeviceError> {
        if *user == self.user() {
            return Err(DeviceError::UnknownUser);
        }
        self.run(|work, _, _| {
            let record = match work.user(user) {
                Err(DeviceError::Damaged) => {
                    // Which devices they had, and whether they were a stranger, cannot be found any more.
                    work.delete(UserRecord::TABLE, &user.to_bytes());
                    return Ok(());
                }
                record => record?.get().ok_or(DeviceError::UnknownUser)?,
            };
            let (stranger, devices) = (record.standing == Standing::Stranger, record.devices.clone());
            for device in devices {
                work.forget_device(&Address { user: *user, device })?;
            }
            let slot = work.user(user)?;
            match slot.get().map(|record| (record.trust, record.trust_since)) {
                Some((trust @ Trust::Blocked, trust_since)) => {
                    slot.put(UserRecord { trust, trust_since, ..UserRecord::new(*user, None, None) });
                }
                _ => slot.delete(),
            }
            if stranger { work.fewer_strangers() } else { Ok(()) }
        })
    }

    /// How this device works. A device that was [restored](Self::restore) works as the one that made the backup did.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn settings(&self) -> Result<Settings, DeviceError> {
        Ok(self.me()?.ok_or(DeviceError::NoDevice)?.settings)
    }

    /// Changes how this device works. Without resending, what was kept for it is not sent any more, and deleted; if this is
    /// interrupted, by the next [`maintain`](Self::maintain).
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), DeviceError> {
        self.run(|work, _, _| {
            work.me()?.change().ok_or(DeviceError::NoDevice)?.settings = settings;
            Ok(())
        })?;
        if settings.resend { Ok(()) } else { self.sweep(|_: &ResendRecord| true).map(drop) }
    }

    /// Whether this is the device of its user that holds the root key: it links and unlinks the others, and makes
    /// backups.
    ///
    /// # Errors
    /// [`DeviceError::Store`].
    pub fn holds_root_key(&self) -> Result<bool, DeviceError> {
        Ok(self.me()?.is_some_and(|me| me.root.is_some()))
    }

    /// What has to be done now and then: call it at every start and once a day, and after receiving what was waiting.
    /// Prekeys and the list of devices are renewed when they are due (the signed prekey after a week, the list 30 days after it was made, if it has been fetched
    /// lately; else 76); what was kept for 14 days is deleted. What a contact's
    /// device asked for again an hour ago or earlier, and was not sent with another message to it, is in the outbox now. So
    /// is, if this device holds the root key, what tells the user's other devices of a new list. Records that do not open
    /// are deleted, and counted ([`Tasks::damaged`]); until then calls that need them fail with [`DeviceError::Damaged`]. Deleting, and what was asked
    /// for, is in commits of its own, each whole by itself.
    ///
    /// # Errors
    /// [`DeviceError::Damaged`] if it is what a device cannot be without, [`DeviceError::WrongKey`] if the store is not this
    /// device's any more, [`DeviceError::Store`].
    pub fn maintain(&mut self) -> Result<Tasks, DeviceError> {
        let now = (self.clock)();
        let keeps = self.me()?.is_none_or(|me| me.settings.resend);
        let mut damaged =
            self.sweep(|record: &ResendRecord| !keeps || record.sent.is_over(RESEND_PERIOD, now))?;
        damaged += self.sweep(|link: &LinkRecord| link.began.is_over(LINK_PERIOD, now))?;
        let stale = |bundle: &BundleRecord| {
            PreKeyBundle::from_bytes(&bundle.bytes).and_then(|bundle| bundle.check_time(now)).is_err()
        };
        damaged += self.sweep(stale)?;
        damaged += self.sweep(|_: &InboxRecord| false)?;
        damaged += self.sweep(|_: &OutboxRecord| false)?;
        damaged += self.sweep(|_: &HandshakeRecord| false)?;
        damaged += self.sweep(|_: &Published| false)?;
        let mut strangers = 0;
        damaged += self.sweep(|user: &UserRecord| {
            strangers += u32::from(user.standing == Standing::Stranger);
            false
        })?;
        // Whether one was a stranger whose record was damaged is not known: they are counted anew.
        self.run(|work, _, _| work.note_strangers(strangers))?;
        let mut waiting = Vec::new();
        damaged += self.sweep(|peer: &PeerRecord| {
            waiting.extend(peer.is_waiting(now).then(|| DeviceId::of(&peer.identity)));
            false
        })?;
        for device in &waiting {
            self.run(|work, context, _| work.answer_late(context, device))?;
        }
        let tasks = self.run(|work, context, _| work.maintain(context))?;
        Ok(Tasks { damaged, ..tasks })
    }

    fn me(&self) -> Result<Option<Me>, DeviceError> {
        Ok(self.vault.read(&self.vault.id(Me::TABLE, ONLY))?.map(|(_, me)| me))
    }

    /// Deletes records of a table page by page: they may be many. And those that do not open, but for that of this user,
    /// without which there is nothing; how many those are. That the key is still that of the store is looked at first.
    fn sweep<T: Stored>(&mut self, mut delete: impl FnMut(&T) -> bool) -> Result<u32, DeviceError> {
        const PAGE: usize = 100;
        let own = self.vault.id(UserRecord::TABLE, &self.user().to_bytes());
        let (mut after, mut deleted) = (0, 0);
        loop {
            let page = self.vault.store.list(T::TABLE as u8, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(deleted) };
            after = last.position;
            let (mut changes, mut damaged) = (Vec::new(), 0);
            for record in page.iter().filter(|record| record.id != own) {
                let delete = match self.vault.open(record) {
                    Err(DeviceError::Damaged) => {
                        damaged += 1;
                        true
                    }
                    value => delete(&value?),
                };
                if delete {
                    let (id, expected) = (record.id, Expected::Version(record.version));
                    changes.push(Change { id, expected, action: Action::Delete });
                }
            }
            if damaged > 0 {
                let expected = Expected::Version(check_key(&self.vault)?);
                changes.push(Change { id: KEY_CHECK, expected, action: Action::Keep });
            }
            match self.vault.commit(&changes) {
                Ok(()) => deleted += damaged,
                // Somebody has just changed one of them: next time.
                Err(DeviceError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<S: Store> Work<'_, S> {
    /// Notes how much a user is trusted since then, unless something newer is known, or something stricter of the same time;
    /// and whether that has changed anything.
    pub(super) fn note_trust(
        &mut self,
        context: &Context<'_>,
        user: &UserId,
        trust: Trust,
        since: UnixTime,
    ) -> Result<bool, DeviceError> {
        if self.me()?.get().is_some_and(|me| me.user == *user) {
            return Ok(false);
        }
        let slot = self.user(user)?;
        let since = since.not_far_ahead(context.now);
        let order = |since: UnixTime, trust: Trust| (since.not_far_ahead(context.now), trust.strictness());
        if slot.get().is_some_and(|known| order(since, trust) < order(known.trust_since, known.trust)) {
            return Ok(false);
        }
        let before = match slot.change() {
            Some(record) => {
                record.trust_since = since;
                Some(std::mem::replace(&mut record.trust, trust))
            }
            None => {
                slot.put(UserRecord { trust, trust_since: since, ..UserRecord::new(*user, None, None) });
                None
            }
        };
        match trust {
            Trust::Verified => self.note_contact(user)?,
            Trust::Blocked => self.note_blocked(user)?,
            Trust::Unverified => {}
        }
        Ok(before != Some(trust))
    }

    fn maintain(&mut self, context: &Context<'_>) -> Result<Tasks, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        let (user, root, unlinked) = (me.user, me.root.is_some(), me.unlinked);
        let record = self.user(&user)?.get().ok_or(DeviceError::Damaged)?;
        let list = record.newest_list()?.ok_or(DeviceError::Damaged)?;
        let current = record.usable_list()?.is_some();
        // Signed anew without knowing the newest one it may be a fork: this device may be out, since a backup was restored.
        let fetched = self.read::<Fetched>(FETCHED)?;
        let newest = fetched.is_some_and(|fetched| !fetched.own_list.is_over(KNOWN_NEWEST, context.now));
        let days = if newest { RENEW_DAYS } else { RENEW_UNSEEN_DAYS };
        let due = context.now.plus_days(days) >= list.expires();
        // By a list that was made under a clock that was ahead nobody goes: better a fork than that.
        let ahead = list.issued() > context.now.plus_days(1);
        if root && !unlinked && current && (due || ahead) {
            self.change_own_list(context, |_| {})?;
        }
        if root && !unlinked {
            self.tell_new_list(context, &user)?;
        }
        let prekeys = self.prekeys()?;
        if prekeys.get().is_some_and(|prekeys| prekeys.rotation_due(context.now))
            && let Some(prekeys) = prekeys.change()
        {
            prekeys.rotate(context.identity, context.now)?;
        }
        let publish = self.has_to_publish()?;
        // The device with the root key may have changed it, and not written since: it may even have taken this one out.
        // What is damaged has been counted before.
        Ok(Tasks { publish, fetch: Missing { lists: vec![user], ..Missing::default() }, damaged: 0 })
    }

    /// Sends the list, with their certificates, to those of this user's devices that do not have it.
    fn tell_new_list(&mut self, context: &Context<'_>, own: &UserId) -> Result<(), DeviceError> {
        let record = self.user(own)?.get().ok_or(DeviceError::Damaged)?;
        let (version, devices) = (record.known.map_or(0, |known| known.version), record.devices.clone());
        for device in devices {
            self.drop_damaged(&device)?;
            let told = |peer: &PeerRecord| {
                peer.told.is_some_and(|(told, when)| {
                    told == version && !when.is_over(TELL_AGAIN_AFTER, context.now)
                })
            };
            let lacks =
                |peer: &PeerRecord| peer.has_our_list < version && !peer.sessions.is_empty() && !told(peer);
            if self.peer(&device)?.get().is_some_and(lacks) {
                let _in_the_outbox: Outgoing = self.send_content(context, &device, None)?;
                if let Some(peer) = self.peer(&device)?.change() {
                    peer.told = Some((version, context.now));
                }
            }
        }
        Ok(())
    }
}

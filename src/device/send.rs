//! Sending: first everything that is needed, for every device; then everything at once.
//!
//! ```text
//! drafts ──> devices ──> routes: a session, or a bundle to begin one ──> all there? ── no ──> Missing
//!                                                                            │ yes
//!                                    outbox <── encrypted for each device <──┘
//! ```
//!
//! Not its concern: the transport.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{
    Context, DeviceError, MessageId, Missing, OutboxId, Outgoing, Trust,
    content::{
        ATTACHMENT_OVERHEAD, Body, Claim, Content, MAX_ATTACHMENTS, MAX_NUMBERS, Meaning, Place, StreamId,
        Text,
    },
    lists::out_of_force,
    records::{OutboxRecord, Table, UserRecord},
    sessions::is_recent,
    streams::Sending,
    vault::random_bytes,
    work::Work,
};
use crate::{
    Address, AttachmentDescriptor, DeviceId, DeviceList, IdentityKey, MAX_CONTENT_LEN, UserId,
    VerifiedBundle, roster::RootKey, store::Store,
};

/// The longest content of a message between devices, in bytes, with the descriptors of its attachments (4 bytes more for
/// each): 16 MiB, less what devices tell each other.
pub const MAX_MESSAGE_LEN: usize = MAX_CONTENT_LEN - 16 * 1024;
const _: () = assert!(MAX_MESSAGE_LEN == 16_760_793);

/// How long the body of a message is at least, in bytes, that has lists in it, or that begins a session and as a rule has: by its
/// length one could tell apart who has written first, since a list of more devices is longer. So much is enough for those of
/// five, and a short text.
const LEAST_WITH_LISTS: usize = 1024;

/// A message to be sent.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Draft<'a> {
    /// For whom.
    pub to: &'a UserId,
    /// What.
    pub content: &'a [u8],
    /// With which attachments. Their files go to the server by themselves.
    pub attachments: &'a [AttachmentDescriptor],
    /// Its name, if the app has given it one: see [`with_id`](Self::with_id).
    pub id: Option<MessageId>,
}

impl<'a> Draft<'a> {
    /// A message with a name of its own.
    #[must_use]
    pub fn new(to: &'a UserId, content: &'a [u8]) -> Self {
        Self { to, content, attachments: &[], id: None }
    }

    /// Tells the recipients what it takes to read attachments: at most 32, which count for the length of the message.
    ///
    /// ```
    /// use subrosa::{AttachmentDescriptor, Device, DeviceError, Draft, Outgoing, UserId, store::Store};
    ///
    /// /// The file has been uploaded under `name`, which is random.
    /// fn send_photo<S: Store>(
    ///     device: &mut Device<S>,
    ///     to: &UserId,
    ///     name: &[u8],
    ///     photo: AttachmentDescriptor,
    /// ) -> Result<Vec<Outgoing>, DeviceError> {
    ///     device.send_many(&[Draft::new(to, name).with_attachments(&[photo])])
    /// }
    /// ```
    #[must_use]
    pub fn with_attachments(self, attachments: &'a [AttachmentDescriptor]) -> Self {
        Self { attachments, ..self }
    }

    /// How long its copies are, in bytes.
    fn is_too_long(&self) -> bool {
        let attachments = self.attachments.iter().map(|it| ATTACHMENT_OVERHEAD + it.encoded_len());
        let len = self.content.len() + attachments.sum::<usize>();
        len > MAX_MESSAGE_LEN || self.attachments.len() > MAX_ATTACHMENTS
    }

    /// Gives it a name of the app's, random and kept with the draft. If it is sent again under this name, because the
    /// app does not know whether a crash came before or after, it is sent once: while it is in the outbox nothing
    /// happens, and a recipient who has it drops it. So no other text may have this name: it would be dropped as well, without an error.
    #[must_use]
    pub fn with_id(self, id: MessageId) -> Self {
        Self { id: Some(id), ..self }
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No plaintext.
        let (bytes, files) = (self.content.len(), self.attachments.len());
        write!(f, "Draft {{ to: {}, {bytes} bytes, {files} attachments, id: {:?} }}", self.to, self.id)
    }
}

/// How a message gets to a device.
enum Route {
    Session,
    Begin(Box<VerifiedBundle>),
    /// It cannot be reached at the moment: it will see that something is missing.
    Later,
}

impl<S: Store> Work<'_, S> {
    /// Encrypts drafts for every device that they concern.
    pub(super) fn send(
        &mut self,
        context: &Context<'_>,
        drafts: &[Draft<'_>],
    ) -> Result<Vec<Outgoing>, DeviceError> {
        if drafts.iter().any(Draft::is_too_long) {
            return Err(DeviceError::ContentTooLong);
        }
        let own = self.own_user()?;
        let mut devices = BTreeMap::new();
        let mut missing = Missing::default();
        for user in drafts.iter().map(|draft| draft.to).chain([&own]) {
            if !devices.contains_key(user) {
                devices.insert(*user, self.devices_of(context, user, &own, &mut missing)?);
            }
        }
        let addresses =
            devices.iter().flat_map(|(user, devices)| devices.iter().map(move |key| (*user, *key)));
        let mut routes = Vec::new();
        for (user, key) in addresses {
            let address = Address { user, device: DeviceId::of(&key) };
            if let Some(route) = self.route(context, &address, &key, &mut missing)? {
                routes.push((address, key, route));
            }
        }
        if !missing.is_empty() {
            return Err(DeviceError::Missing(missing));
        }
        let mut answers = Vec::new();
        let mut reached: BTreeMap<UserId, Vec<(DeviceId, bool)>> = BTreeMap::new();
        for (address, key, route) in routes {
            let now = match route {
                Route::Session => true,
                Route::Begin(bundle) => self.begin_if_possible(context, &address, &key, *bundle)?,
                Route::Later => {
                    self.peer_or_new(&address, &key)?;
                    false
                }
            };
            if now {
                answers.append(&mut self.answer(context, &address.device, |_| true)?);
            }
            reached.entry(address.user).or_default().push((address.device, now));
        }
        let mut out = Vec::new();
        for draft in drafts {
            let Draft { to: user, content, attachments, .. } = *draft;
            let text = Text { attachments: attachments.into(), content };
            let id = match draft.id {
                Some(id) => id,
                None => MessageId::from_bytes(random_bytes()?),
            };
            let to = reached.get(user).map_or(&[][..], Vec::as_slice);
            if to.iter().all(|(_, now)| !now) && *user != own {
                return Err(if self.can_begin(context)? {
                    DeviceError::Unreachable
                } else {
                    DeviceError::CertificateExpired
                });
            }
            let mut copies = Vec::new();
            copies.extend(to.iter().map(|device| (device, Meaning::Message(text.clone()))));
            if *user != own {
                let others = reached.get(&own).into_iter().flatten();
                copies.extend(others.map(|device| (device, Meaning::Sent { to: *user, text: text.clone() })));
                self.note_contact(user)?;
            }
            for ((device, now), meaning) in copies {
                if !now {
                    self.number(context, device, id, &meaning)?;
                    continue;
                }
                let waiting = match draft.id {
                    Some(_) => self.waiting(device, &id, user)?,
                    None => None,
                };
                out.push(match waiting {
                    Some(waiting) => waiting,
                    None => self.send_body(context, device, id, &meaning)?,
                });
            }
        }
        out.append(&mut answers);
        Ok(out)
    }

    /// Tells the other devices of this user; those that there is no session with yet, later.
    pub(super) fn tell_own_devices(
        &mut self,
        context: &Context<'_>,
        meaning: &Meaning<'_>,
    ) -> Result<Vec<Outgoing>, DeviceError> {
        let own = self.own_user()?;
        let devices = self.devices_of(context, &own, &own, &mut Missing::default())?;
        let id = MessageId::from_bytes(random_bytes()?);
        let mut out = Vec::new();
        for key in devices {
            let device = DeviceId::of(&key);
            self.drop_damaged(&device)?;
            let peer = self.peer_or_new(&Address { user: own, device }, &key)?;
            if peer.user != own {
                // It says that it is another user's, too.
                continue;
            }
            if peer.sessions.is_empty() {
                self.number(context, &device, id, meaning)?;
            } else {
                out.push(self.send_body(context, &device, id, meaning)?);
            }
        }
        Ok(out)
    }

    /// This user, if this device may still send.
    fn own_user(&mut self) -> Result<UserId, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        if me.unlinked { Err(DeviceError::Unlinked) } else { Ok(me.user) }
    }

    /// The devices of a user, without this one. Notes if the list has to be fetched.
    pub(super) fn devices_of(
        &mut self,
        context: &Context<'_>,
        user: &UserId,
        own: &UserId,
        missing: &mut Missing,
    ) -> Result<Vec<IdentityKey>, DeviceError> {
        let record = self.user(user)?.get();
        if record.is_some_and(|record| record.trust == Trust::Blocked) {
            return Err(DeviceError::Blocked);
        }
        let list = record.map(UserRecord::usable_list).transpose()?.flatten();
        match list {
            Some(list) if user == own || out_of_force(list.expires(), context.now).is_none() => {
                Ok(list.devices().filter(|key| DeviceId::of(key) != context.device).copied().collect())
            }
            _ => {
                missing.lists.push(*user);
                Ok(Vec::new())
            }
        }
    }

    /// How to reach a device; none if it is not to be. Notes if a bundle has to be fetched.
    fn route(
        &mut self,
        context: &Context<'_>,
        address: &Address,
        key: &IdentityKey,
        missing: &mut Missing,
    ) -> Result<Option<Route>, DeviceError> {
        self.drop_damaged(&address.device)?;
        let (mut session, mut unreachable) = (false, false);
        if let Some(peer) = self.peer(&address.device)?.get() {
            if peer.user != address.user {
                // It says that it is two users': nothing for the second one goes there.
                return Ok(None);
            }
            session = !peer.sessions.is_empty();
            unreachable = is_recent(peer.unreachable_since, context.now);
        }
        let can_begin = self.can_begin(context)?;
        if session && !(can_begin && self.is_to_be_replaced(context, &address.device)?) {
            return Ok(Some(Route::Session));
        }
        if !can_begin {
            return Ok(Some(Route::Later));
        }
        if let Some(bundle) = self.bundle(context, &address.device, key)? {
            return Ok(Some(Route::Begin(bundle)));
        }
        if !unreachable {
            missing.bundles.push(*address);
        }
        Ok(Some(if session { Route::Session } else { Route::Later }))
    }

    /// Whether this device can show whose it is.
    fn can_begin(&mut self, context: &Context<'_>) -> Result<bool, DeviceError> {
        let certificate = &self.me()?.get().ok_or(DeviceError::NoDevice)?.certificate;
        Ok(out_of_force(certificate.expires(), context.now).is_none())
    }

    /// Begins a session from a bundle. If that is of no use, it is as if the server had none, which is no reason not to write
    /// to others. Whether there is a session to send on.
    pub(super) fn begin_if_possible(
        &mut self,
        context: &Context<'_>,
        address: &Address,
        key: &IdentityKey,
        bundle: VerifiedBundle,
    ) -> Result<bool, DeviceError> {
        match self.begin(context, address, key, bundle) {
            Err(DeviceError::Message(_)) => {
                self.delete(Table::Bundles, &address.device.to_bytes());
                let peer = self.peer_or_new(address, key)?;
                peer.unreachable_since = context.now;
                Ok(!peer.sessions.is_empty())
            }
            begun => begun.map(|()| true),
        }
    }

    /// Sends a body to a device that there is a session with.
    fn send_body(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        id: MessageId,
        meaning: &Meaning<'_>,
    ) -> Result<Outgoing, DeviceError> {
        let (place, kind, bytes) = self.number(context, device, id, meaning)?;
        let body = Body { place, id, resent: false, kind, bytes: &bytes };
        self.send_content(context, device, Some(body))
    }

    /// Gives a body for a device its number, and keeps it for being asked for.
    fn number(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        id: MessageId,
        meaning: &Meaning<'_>,
    ) -> Result<(Place, u8, Zeroizing<Vec<u8>>), DeviceError> {
        let peer = self.peer(device)?.change().ok_or(DeviceError::UnknownDevice)?;
        let place = match peer.sending.advance() {
            Some(place) => place,
            None => {
                peer.sending = Sending::new(StreamId(random_bytes()?));
                peer.sending.advance().ok_or(DeviceError::NoRandomness)?
            }
        };
        let (kind, bytes) = meaning.encode();
        let bytes = Zeroizing::new(bytes);
        self.keep_for_resending(context, device, &place, id, kind, &bytes)?;
        Ok((place, kind, bytes))
    }

    /// The copy for a device of a message that is in the outbox already.
    fn waiting(
        &mut self,
        device: &DeviceId,
        id: &MessageId,
        to: &UserId,
    ) -> Result<Option<Outgoing>, DeviceError> {
        let name = outbox_name(device, id, &to.to_bytes());
        let record = self.read::<OutboxRecord>(&name)?;
        let id = OutboxId(self.vault.id(Table::Outbox, &name).name);
        Ok(record.map(|record| record.into_outgoing(id)))
    }

    /// Encrypts a message for a device, on the session with it that is sent on, and puts it into the outbox.
    pub(super) fn send_content(
        &mut self,
        context: &Context<'_>,
        device: &DeviceId,
        body: Option<Body<'_>>,
    ) -> Result<Outgoing, DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        let (own, padding) = (me.user, me.settings.padding);
        let own_record = self.user(&own)?.get().ok_or(DeviceError::Damaged)?;
        let own_claim = Claim::of(own_record.known.as_ref());

        let peer = self.peer(device)?.change().ok_or(DeviceError::UnknownDevice)?;
        let user = peer.user;
        let session = peer.sessions.first_mut().ok_or(DeviceError::UnknownDevice)?;
        session.last_used = context.now;
        session.waiting_since.get_or_insert(context.now);
        let session = session.id;
        let ack = peer.receiving.ack();
        let asks = peer.receiving.asks(context.now, MAX_NUMBERS);
        let gone = peer.gone.drain(..peer.gone.len().min(MAX_NUMBERS)).collect();
        let (has_our_list, has_own_list, key) = (peer.has_our_list, peer.has_own_list, peer.identity);

        let record = self.user(&user)?.get().ok_or(DeviceError::UnknownUser)?;
        let peer_claim = Claim::of(record.known.as_ref());
        let wants_own = user != own && (1..peer_claim.version).contains(&has_own_list);
        // Copied only if they travel, which is seldom.
        let peer_list = if wants_own { record.list.clone() } else { None };
        let own_list = match self.user(&own)?.get() {
            Some(record) if has_our_list < own_claim.version => record.list.clone(),
            _ => None,
        };
        let mut lists = Vec::new();
        let mut certificate = None;
        if let Some(list) = own_list.as_deref() {
            lists.push(list);
            // Its public half is computed: not for every message.
            if user == own
                && let Some(root) = self.me()?.get().and_then(|me| me.root.as_deref()).map(RootKey::from_seed)
            {
                certificate = super::lists::certificate_for(&root, &key, list)?;
            }
        }
        lists.extend(peer_list.as_deref());
        let lists_len = lists.len();
        let content = Content {
            own_list: own_claim,
            peer_list: peer_claim,
            ack,
            asks,
            gone,
            lists,
            certificate: certificate.as_ref(),
            body,
        };
        let encoded = Zeroizing::new(content.encode());
        let session = self.use_session(&session)?.ok_or(DeviceError::Damaged)?;
        session.set_padding(padding);
        let least = if lists_len > 0 || !session.is_confirmed() { LEAST_WITH_LISTS } else { 0 };
        let bytes = session.encrypt_to(&encoded, least)?;
        let (message, kind) = (body.map(|body| body.id), body.map_or(0, |body| body.kind));
        let record = OutboxRecord { user, device: *device, message, kind, bytes };
        let name = match &body {
            Some(body) if !body.resent => {
                let user = user.to_bytes();
                let to = body.addressee().unwrap_or(&user);
                self.vault.id(Table::Outbox, &outbox_name(device, &body.id, to)).name
            }
            _ => random_bytes()?,
        };
        self.add(name, &record)?;
        Ok(record.into_outgoing(OutboxId(name)))
    }
}

/// The name of a copy, for a device, of a message that is for a user.
fn outbox_name(device: &DeviceId, id: &MessageId, to: &[u8; UserId::LEN]) -> Vec<u8> {
    [&device.to_bytes()[..], &id.to_bytes(), to].concat()
}

impl UserRecord {
    /// The list to send by: none if it was replaced, as far as is known.
    pub(super) fn usable_list(&self) -> Result<Option<DeviceList>, DeviceError> {
        let Some(bytes) = &self.list else { return Ok(None) };
        let list = DeviceList::from_sealed_state(bytes).map_err(DeviceError::from_record)?;
        let replaced =
            self.known.is_some_and(|known| known.version > list.version()) || self.rumoured > list.version();
        Ok((!replaced).then_some(list))
    }
}

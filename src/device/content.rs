//! What stands inside the messages of a session between two devices: the app's content, and what devices tell each
//! other beside it.
//!
//! ```text
//! content = version u8 | flags u8 | own list (version u32 | hash 16) | peer's list (version u32 | hash 16)
//!         | [ack: stream 8 | through u32]
//!         | [asks: count u8 | count x (stream 8 | number u32)]
//!         | [gone: count u8 | count x (stream 8 | number u32)]
//!         | [lists: count u8 | count x (length u16 | device list)]
//!         | [certificate 256: a handshake payload]
//!         | [body: stream 8 | number u32 | message id 16 | kind u8 | the rest]
//! text    = count u8 | count x (length u32 | attachment descriptor) | the app's content
//! ```
//! Every message names the device lists that its sender knows of both sides, so one that is withheld from either
//! shows with the next message.
//!
//! Not its concern: what to do about any of it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::MessageId;
use crate::{
    AttachmentDescriptor, Error, UnixTime, UserId,
    roster::{KnownList, PAYLOAD_LEN},
    wire::codec::Reader,
};

const VERSION: u8 = 1;

/// How many numbers are asked for, or told to be gone, in one message.
pub(super) const MAX_NUMBERS: usize = 32;
/// How many attachments one message may have.
pub(super) const MAX_ATTACHMENTS: usize = 32;
/// What an attachment adds to a message besides its descriptor, in bytes.
pub(super) const ATTACHMENT_OVERHEAD: usize = 4;
/// The list of the sender's user, and that of the receiver's.
const MAX_LISTS: usize = 2;

mod flag {
    pub(super) const ACK: u8 = 1;
    pub(super) const ASKS: u8 = 1 << 1;
    pub(super) const GONE: u8 = 1 << 2;
    pub(super) const LISTS: u8 = 1 << 3;
    pub(super) const CERTIFICATE: u8 = 1 << 4;
    pub(super) const BODY: u8 = 1 << 5;
    pub(super) const RESENT: u8 = 1 << 6;
    pub(super) const ALL: u8 = 0x7f;
    const _: () = assert!(ALL == ACK | ASKS | GONE | LISTS | CERTIFICATE | BODY | RESENT);
}

/// Names a series of numbered messages from one device to another: 8 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct StreamId(pub(super) [u8; 8]);

/// One message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) stream: StreamId,
    pub(super) number: u32,
}

/// Which list somebody knows: as [`KnownList`], with half of the hash. Version 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) version: u32,
    pub(super) hash: [u8; 16],
}

impl Claim {
    pub(super) fn of(known: Option<&KnownList>) -> Self {
        known.map_or_else(Self::default, |known| {
            let [hash @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = known.hash;
            Self { version: known.version, hash }
        })
    }
}

/// A message's content, decoded.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    pub(super) own_list: Claim,
    pub(super) peer_list: Claim,
    /// Everything of this stream below the number has been received, or given up.
    pub(super) ack: Option<Place>,
    /// Messages that are missing, and wanted again.
    pub(super) asks: Vec<Place>,
    /// Messages that were asked for, and cannot be sent again.
    pub(super) gone: Vec<Place>,
    pub(super) lists: Vec<&'a [u8]>,
    pub(super) certificate: Option<&'a [u8; PAYLOAD_LEN]>,
    pub(super) body: Option<Body<'a>>,
}

/// What a message is about; numbered, and sent again when it gets lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    pub(super) place: Place,
    pub(super) id: MessageId,
    pub(super) resent: bool,
    pub(super) kind: u8,
    pub(super) bytes: &'a [u8],
}

/// What the app has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) attachments: Cow<'a, [AttachmentDescriptor]>,
    pub(super) content: &'a [u8],
}

/// What a body means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// For the app.
    Message(Text<'a>),
    /// From another device of ours: it has sent this to this user.
    Sent { to: UserId, text: Text<'a> },
    /// From another device of ours: this user is trusted so much since then.
    Trust { user: UserId, trust: u8, since: UnixTime },
}

impl<'a> Meaning<'a> {
    pub(super) const MESSAGE: u8 = 1;
    const SENT: u8 = 2;
    const TRUST: u8 = 3;

    /// Kind and bytes of a body.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Message(text) => (Self::MESSAGE, text.encode(&[])),
            Self::Sent { to, text } => (Self::SENT, text.encode(&to.to_bytes())),
            Self::Trust { user, trust, since } => {
                let since = since.as_secs().to_be_bytes();
                (Self::TRUST, [&user.to_bytes()[..], &[*trust], &since].concat())
            }
        }
    }

    /// None for a kind that this release does not know.
    pub(super) fn decode(body: &Body<'a>) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(body.bytes);
        Ok(Some(match body.kind {
            Self::MESSAGE => Self::Message(Text::decode(reader)?),
            Self::SENT => {
                let to = UserId::from_bytes(reader.array::<{ UserId::LEN }>()?)?;
                Self::Sent { to, text: Text::decode(reader)? }
            }
            Self::TRUST => {
                let user = UserId::from_bytes(reader.array::<{ UserId::LEN }>()?)?;
                let (trust, since) = (reader.u8()?, UnixTime::from_secs(reader.u64()?));
                reader.finish()?;
                Self::Trust { user, trust, since }
            }
            _ => return Ok(None),
        }))
    }
}

impl<'a> Text<'a> {
    /// Behind what else there is.
    fn encode(&self, front: &[u8]) -> Vec<u8> {
        let attachments: Vec<_> = self.attachments.iter().map(|it| Zeroizing::new(it.to_bytes())).collect();
        let len = attachments.iter().map(|bytes| ATTACHMENT_OVERHEAD + bytes.len()).sum::<usize>();
        // Exact, so that nothing is left in a smaller buffer.
        let mut out = Vec::with_capacity(front.len() + 1 + len + self.content.len());
        out.extend_from_slice(front);
        out.push(count(attachments.len()));
        for bytes in &attachments {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(self.content);
        out
    }

    /// Content and attachments.
    pub(super) fn into_owned(self) -> (Vec<u8>, Vec<AttachmentDescriptor>) {
        (self.content.to_vec(), self.attachments.into_owned())
    }

    fn decode(mut reader: Reader<'a>) -> Result<Self, Error> {
        let count = reader.u8()?.into();
        if count > MAX_ATTACHMENTS {
            return Err(Error::Malformed);
        }
        let mut attachments = Vec::new();
        for _ in 0..count {
            let len = usize::try_from(reader.u32()?).map_err(|_| Error::Malformed)?;
            attachments.push(AttachmentDescriptor::from_bytes(reader.slice(len)?)?);
        }
        Ok(Self { attachments: attachments.into(), content: reader.rest() })
    }
}

impl Body<'_> {
    /// The other user that it is about sending to, as it stands there.
    pub(super) fn addressee(&self) -> Option<&[u8; UserId::LEN]> {
        if self.kind == Meaning::SENT { self.bytes.first_chunk() } else { None }
    }
}

impl<'a> Content<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        let mut sections = Vec::new();
        if let Some(ack) = &self.ack {
            flags |= flag::ACK;
            write_place(ack, &mut sections);
        }
        for (bit, places) in [(flag::ASKS, &self.asks), (flag::GONE, &self.gone)] {
            if !places.is_empty() {
                flags |= bit;
                sections.push(count(places.len()));
                places.iter().for_each(|place| write_place(place, &mut sections));
            }
        }
        if !self.lists.is_empty() {
            flags |= flag::LISTS;
            sections.push(count(self.lists.len()));
            for list in &self.lists {
                sections.extend_from_slice(&u16::try_from(list.len()).unwrap_or(u16::MAX).to_be_bytes());
                sections.extend_from_slice(list);
            }
        }
        if let Some(certificate) = self.certificate {
            flags |= flag::CERTIFICATE;
            sections.extend_from_slice(certificate);
        }
        if let Some(body) = &self.body {
            flags |= flag::BODY | if body.resent { flag::RESENT } else { 0 };
            write_place(&body.place, &mut sections);
            sections.extend_from_slice(&body.id.to_bytes());
            sections.push(body.kind);
            sections.extend_from_slice(body.bytes);
        }
        let mut out = vec![VERSION, flags];
        for claim in [&self.own_list, &self.peer_list] {
            out.extend_from_slice(&claim.version.to_be_bytes());
            out.extend_from_slice(&claim.hash);
        }
        out.append(&mut sections);
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Error::UnsupportedVersion);
        }
        let flags = reader.u8()?;
        let has = |bit| flags & bit != 0;
        if flags & !flag::ALL != 0 || (has(flag::RESENT) && !has(flag::BODY)) {
            return Err(Error::Malformed);
        }
        let mut content = Self {
            own_list: read_claim(&mut reader)?,
            peer_list: read_claim(&mut reader)?,
            ..Self::default()
        };
        if has(flag::ACK) {
            content.ack = Some(read_place(&mut reader)?);
        }
        for (bit, places) in [(flag::ASKS, &mut content.asks), (flag::GONE, &mut content.gone)] {
            if has(bit) {
                let count = read_count(&mut reader, MAX_NUMBERS)?;
                *places = (0..count).map(|_| read_place(&mut reader)).collect::<Result<_, _>>()?;
            }
        }
        if has(flag::LISTS) {
            for _ in 0..read_count(&mut reader, MAX_LISTS)? {
                let len = reader.u16()?;
                content.lists.push(reader.slice(len.into())?);
            }
        }
        if has(flag::CERTIFICATE) {
            content.certificate = Some(reader.array()?);
        }
        if has(flag::BODY) {
            let place = read_place(&mut reader)?;
            if place.number == u32::MAX {
                // The one that is never sent.
                return Err(Error::Malformed);
            }
            let id = MessageId::from_bytes(*reader.array()?);
            let (resent, kind) = (has(flag::RESENT), reader.u8()?);
            content.body = Some(Body { place, id, resent, kind, bytes: reader.rest() });
        } else {
            reader.finish()?;
        }
        Ok(content)
    }
}

/// Counts are bounded where the sections are filled.
fn count(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

fn write_place(place: &Place, out: &mut Vec<u8>) {
    out.extend_from_slice(&place.stream.0);
    out.extend_from_slice(&place.number.to_be_bytes());
}

fn read_place(reader: &mut Reader<'_>) -> Result<Place, Error> {
    Ok(Place { stream: StreamId(*reader.array()?), number: reader.u32()? })
}

fn read_claim(reader: &mut Reader<'_>) -> Result<Claim, Error> {
    let claim = Claim { version: reader.u32()?, hash: *reader.array()? };
    if claim.version == 0 && claim.hash != [0; 16] { Err(Error::Malformed) } else { Ok(claim) }
}

fn read_count(reader: &mut Reader<'_>, max: usize) -> Result<usize, Error> {
    let count = reader.u8()?.into();
    if (1..=max).contains(&count) { Ok(count) } else { Err(Error::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::roster::fixture::{BAD_KEYS, root};

    fn place(stream: u8, number: u32) -> Place {
        Place { stream: StreamId([stream; 8]), number }
    }

    fn claim(version: u32) -> Claim {
        Claim { version, hash: [0xc1; 16] }
    }

    /// Everything that a message may have.
    fn full() -> Content<'static> {
        Content {
            own_list: claim(3),
            peer_list: claim(u32::MAX),
            ack: Some(place(1, 0)),
            asks: (0..32).map(|number| place(2, number)).collect(),
            gone: vec![place(3, u32::MAX), place(3, u32::MAX)],
            lists: vec![&[0x61, 2, 3], &[]],
            certificate: Some(&[0xce; PAYLOAD_LEN]),
            body: Some(body(&[0xb0; 5])),
        }
    }

    fn body(bytes: &[u8]) -> Body<'_> {
        let id = MessageId::from_bytes([0x1d; 16]);
        Body { place: place(4, 7), id, resent: true, kind: 1, bytes }
    }

    fn descriptor(size: u8) -> AttachmentDescriptor {
        let bytes =
            [&[0x71][..], &[7; 32], &[0; 7], &[size], &[8; 32], &[0, 1, 0, 0, 3], b"a/b", &[0; 5]].concat();
        AttachmentDescriptor::from_bytes(&bytes).unwrap()
    }

    fn text<'a>(attachments: &'a [AttachmentDescriptor], content: &'a [u8]) -> Text<'a> {
        Text { attachments: attachments.into(), content }
    }

    #[test]
    fn a25_attachments_in_messages() {
        let attachments = [descriptor(1), descriptor(2)];
        let (kind, bytes) = Meaning::Message(text(&attachments, b"content")).encode();
        assert_eq!(bytes.capacity(), bytes.len());
        let one = descriptor(1).to_bytes().len();
        assert_eq!((bytes[0], &bytes[1..5]), (2, &u32::try_from(one).unwrap().to_be_bytes()[..]));
        assert_eq!(&bytes[1 + 2 * (4 + one)..], b"content");
        let decode = |bytes: &[u8]| Meaning::decode(&Body { kind, ..body(bytes) }).map(|_| ());
        for len in 0..1 + 2 * (4 + one) {
            assert_eq!(decode(&bytes[..len]), Err(Error::Malformed), "{len}");
        }
        for (position, value) in [(0, 33), (0, 255), (1, 0xff), (5, 0x61)] {
            let mut altered = bytes.clone();
            altered[position] = value;
            assert_eq!(decode(&altered), Err(Error::Malformed), "{position}");
        }
        for (count, result) in [(32, Ok(())), (33, Err(Error::Malformed))] {
            let many = vec![descriptor(1); count];
            assert_eq!(decode(&Meaning::Message(text(&many, b"")).encode().1), result);
        }
        let mut newer = bytes.clone();
        newer[5] = 0x72;
        assert_eq!(decode(&newer), Err(Error::UnsupportedVersion));
    }

    /// Where the sections of [`full`] begin: after the lists' names, and so on.
    const ASKS: usize = 42 + 12;
    const GONE: usize = ASKS + 1 + 32 * 12;
    const LISTS: usize = GONE + 1 + 2 * 12;
    const CERTIFICATE: usize = LISTS + 1 + 2 * 2 + 3;
    const BODY: usize = CERTIFICATE + PAYLOAD_LEN;

    fn malformed(bytes: &[u8]) -> bool {
        matches!(Content::decode(bytes), Err(Error::Malformed))
    }

    #[test]
    fn sections_stand_in_order() {
        let bytes = full().encode();
        assert_eq!(bytes.len(), BODY + 12 + 16 + 1 + 5);
        assert_eq!(bytes[..2], [1, 0x7f]);
        assert_eq!(bytes[2..6], [0, 0, 0, 3]);
        assert_eq!(bytes[22..26], [0xff; 4]);
        assert_eq!(bytes[42..ASKS], [[1; 8].as_slice(), &[0; 4]].concat());
        assert_eq!((bytes[ASKS], bytes[GONE], bytes[LISTS]), (32, 2, 2));
        assert_eq!(bytes[LISTS + 1..CERTIFICATE], [0, 3, 0x61, 2, 3, 0, 0]);
        assert_eq!(bytes[BODY..][28..], [1, 0xb0, 0xb0, 0xb0, 0xb0, 0xb0]);
        let empty = Content::default().encode();
        assert_eq!(empty, [&[1, 0][..], &[0; 40]].concat());
        for bytes in [bytes, empty] {
            assert_eq!(Content::decode(&bytes).unwrap().encode(), bytes);
        }
    }

    /// Up to the body, whose bytes go to the end, every length but the whole is refused.
    #[test]
    fn a25_truncated() {
        let bytes = full().encode();
        for len in 0..BODY + 29 {
            assert!(malformed(&bytes[..len]), "{len}");
        }
        for len in BODY + 29..=bytes.len() {
            let content = Content::decode(&bytes[..len]).unwrap();
            assert_eq!(content.body.unwrap().bytes, &bytes[BODY + 29..len]);
        }
        let bodiless = Content { body: None, ..full() }.encode();
        for len in 0..bodiless.len() {
            assert!(malformed(&bodiless[..len]), "{len}");
        }
        assert!(malformed(&[&bodiless[..], &[0]].concat()));
    }

    #[test]
    fn a25_versions_flags_and_counts() {
        let bytes = full().encode();
        let altered = |position: usize, value: u8| {
            let mut altered = bytes.clone();
            altered[position] = value;
            altered
        };
        for version in [0, 2, 0x11, 0xff] {
            let result = Content::decode(&altered(0, version)).map(|_| ());
            assert_eq!(result, Err(Error::UnsupportedVersion));
            // Judged first, whatever follows.
            assert_eq!(Content::decode(&[version]).map(|_| ()), Err(Error::UnsupportedVersion));
        }
        assert!(malformed(&altered(1, 0xff)));
        let bodiless = Content { body: None, ..full() }.encode();
        let mut resent = bodiless.clone();
        resent[1] |= flag::RESENT;
        assert!(malformed(&resent));
        for (position, counts) in [(ASKS, &[0, 33, 255][..]), (GONE, &[0, 33, 255]), (LISTS, &[0, 3, 255])] {
            for count in counts {
                assert!(malformed(&altered(position, *count)), "{position} {count}");
            }
        }
        // The length of a list beyond the end.
        assert!(malformed(&altered(LISTS + 1, 0xff)));
        // Version 0 names no list.
        for position in [5, 25] {
            let mut altered = full();
            altered.own_list.version = u32::from(position != 5);
            altered.peer_list.version = u32::from(position != 25);
            assert!(malformed(&altered.encode()), "{position}");
        }
    }

    /// Counts and lengths that claim more than there is allocate nothing.
    #[test]
    fn a25_length_bombs() {
        let head = [0; 40];
        for bomb in [
            &[&[1, flag::ASKS][..], &head, &[32]].concat()[..],
            &[&[1, flag::LISTS][..], &head, &[2, 0xff, 0xff]].concat(),
            &[&[1, flag::LISTS][..], &head, &[1, 0xff, 0xff, 0]].concat(),
        ] {
            assert!(malformed(bomb));
        }
    }

    #[test]
    fn meanings() {
        let user = *root(1).user_id();
        let attachments = [descriptor(1), descriptor(2)];
        for meaning in [
            Meaning::Message(text(&[], b"")),
            Meaning::Message(text(&[], b"content")),
            Meaning::Message(text(&attachments, b"")),
            Meaning::Sent { to: user, text: text(&[], b"") },
            Meaning::Sent { to: user, text: text(&attachments, b"content") },
            Meaning::Trust { user, trust: 2, since: UnixTime::from_secs(7) },
        ] {
            let (kind, bytes) = meaning.encode();
            assert_eq!(Meaning::decode(&Body { kind, ..body(&bytes) }), Ok(Some(meaning)));
        }
        let decode = |kind, bytes: &[u8]| {
            Meaning::decode(&Body { kind, ..body(bytes) }).map(|meaning| meaning.is_some())
        };
        let user = user.to_bytes();
        for kind in [0, 4, 255] {
            assert_eq!(decode(kind, &user), Ok(false));
        }
        assert_eq!(decode(Meaning::SENT, &user[..31]), Err(Error::Malformed));
        assert_eq!(decode(Meaning::TRUST, &user), Err(Error::Malformed));
        assert_eq!(decode(Meaning::TRUST, &[&user[..], &[1, 0]].concat()), Err(Error::Malformed));
        for bad in BAD_KEYS {
            let bad = hex::decode(bad).unwrap();
            assert_eq!(decode(Meaning::SENT, &bad), Err(Error::InvalidKey));
            assert_eq!(decode(Meaning::TRUST, &[&bad[..], &[1]].concat()), Err(Error::InvalidKey));
        }
    }

    #[test]
    fn the_largest_message_fits() {
        let biggest = [0x61; 4_246];
        let content = Content {
            gone: full().asks,
            lists: vec![&biggest, &biggest],
            body: Some(Body { bytes: &[0; UserId::LEN], ..full().body.unwrap() }),
            ..full()
        };
        assert!(content.encode().len() + crate::MAX_MESSAGE_LEN <= crate::MAX_CONTENT_LEN);
    }

    prop_compose! {
        fn places()(places in vec((any::<[u8; 8]>(), any::<u32>()), 0..=MAX_NUMBERS)) -> Vec<Place> {
            places.into_iter().map(|(stream, number)| Place { stream: StreamId(stream), number }).collect()
        }
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(
            (own, peer) in (any::<Option<(u32, [u8; 16])>>(), any::<Option<(u32, [u8; 16])>>()),
            ack in any::<Option<([u8; 8], u32)>>(),
            (asks, gone) in (places(), places()),
            lists in vec(vec(any::<u8>(), 0..40), 0..=MAX_LISTS),
            certificate in any::<bool>(),
            text in any::<Option<(Vec<u8>, bool, u8)>>(),
        ) {
            let claim = |claim: Option<(u32, [u8; 16])>| {
                claim.map_or_else(Claim::default, |(version, hash)| Claim { version: version.max(1), hash })
            };
            let content = Content {
                own_list: claim(own),
                peer_list: claim(peer),
                ack: ack.map(|(stream, number)| Place { stream: StreamId(stream), number }),
                asks,
                gone,
                lists: lists.iter().map(Vec::as_slice).collect(),
                certificate: certificate.then_some(&[0xce; PAYLOAD_LEN]),
                body: text.as_ref().map(|(bytes, resent, kind)| Body { resent: *resent, kind: *kind, ..body(bytes) }),
            };
            let bytes = content.encode();
            let decoded = Content::decode(&bytes).unwrap();
            prop_assert_eq!(format!("{decoded:?}"), format!("{content:?}"));
            prop_assert_eq!(decoded.encode(), bytes);
        }

        #[test]
        fn a25_arbitrary_bytes(
            flags in any::<u8>(),
            mut bytes in vec(prop_oneof![0..4u8, any::<u8>()], 0..700),
            honest in any::<bool>(),
        ) {
            if honest && bytes.len() > 2 {
                bytes[..2].copy_from_slice(&[VERSION, flags & flag::ALL]);
            }
            if let Ok(content) = Content::decode(&bytes) {
                prop_assert_eq!(content.encode(), bytes);
            }
        }

        #[test]
        fn a25_altered_bytes(position in 0..BODY + 34, value in any::<u8>()) {
            let mut bytes = full().encode();
            bytes[position] = value;
            if let Ok(content) = Content::decode(&bytes) {
                prop_assert_eq!(content.encode(), bytes);
            }
        }
    }
}

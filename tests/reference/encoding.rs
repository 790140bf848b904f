//! Section 6, and what sections 1 and 5 say of all encodings.

use super::{
    erasure::Codeword,
    primitives::{Key, Refusal, cat},
};

/// Kinds, with version 1.
pub mod kind {
    pub const INITIAL_MESSAGE: u8 = 0x11;
    pub const RATCHET_MESSAGE: u8 = 0x21;
    pub const BUNDLE: u8 = 0x31;
    pub const SIGNED_PREKEY: u8 = 0x41;
    pub const ONE_TIME_PREKEY: u8 = 0x51;
}

/// Takes fields off the front.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(Refusal::Malformed)?;
        self.rest = rest;
        Ok(field)
    }

    pub fn key(&mut self) -> Result<Key, Refusal> {
        Ok(self.take(32)?.try_into().unwrap())
    }

    /// A big-endian number of so many bytes.
    pub fn number(&mut self, len: usize) -> Result<u64, Refusal> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The byte of kind and version, of which one of these is expected.
    pub fn kind(&mut self, expected: &[u8]) -> Result<u8, Refusal> {
        let byte = self.take(1)?[0];
        if expected.contains(&byte) {
            Ok(byte)
        } else if expected.iter().any(|kind| kind >> 4 == byte >> 4) {
            Err(Refusal::UnsupportedVersion)
        } else {
            Err(Refusal::Malformed)
        }
    }

    /// 0 or 1.
    pub fn flag(&mut self) -> Result<bool, Refusal> {
        match self.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Refusal::Malformed),
        }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn end(self) -> Result<(), Refusal> {
        if self.rest.is_empty() { Ok(()) } else { Err(Refusal::Malformed) }
    }
}

/// The most that content may have.
pub const MAX_CONTENT: usize = (1 << 24) - 39;
/// The most that a payload may have.
pub const MAX_PAYLOAD: usize = 512;

/// The parts of a message.
pub struct Message<'a> {
    /// The handshake part of an initial message.
    pub handshake: Option<&'a [u8]>,
    /// Every byte before the sealed header.
    pub before: &'a [u8],
    pub sealed_header: &'a [u8],
    pub sealed_body: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn cut(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes);
        let initial = reader.kind(&[kind::INITIAL_MESSAGE, kind::RATCHET_MESSAGE])? == kind::INITIAL_MESSAGE;
        if initial {
            HandshakePart::read(&mut reader)?;
        }
        let before = &bytes[..bytes.len() - reader.rest().len()];
        let sealed_header = reader.take(68)?;
        let sealed_body = reader.rest();
        if !(32..=(1 << 24) + 16).contains(&sealed_body.len()) {
            return Err(Refusal::Malformed);
        }
        Ok(Self { handshake: initial.then_some(&before[1..]), before, sealed_header, sealed_body })
    }
}

/// What an initial message has before its header.
pub struct HandshakePart<'a> {
    pub signed_prekey_id: &'a [u8],
    pub one_time_prekey_id: Option<&'a [u8]>,
    pub ek_a: Key,
    pub ct: &'a [u8],
    pub c: &'a [u8],
}

impl<'a> HandshakePart<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        let signed_prekey_id = reader.take(8)?;
        let one_time_prekey_id = if reader.flag()? { Some(reader.take(8)?) } else { None };
        let (ek_a, ct) = (reader.key()?, reader.take(1568)?);
        let payload_len = reader.number(2)? as usize;
        if payload_len > MAX_PAYLOAD {
            return Err(Refusal::Malformed);
        }
        Ok(Self { signed_prekey_id, one_time_prekey_id, ek_a, ct, c: reader.take(144 + payload_len)? })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        cat(&[
            self.signed_prekey_id,
            &[u8::from(self.one_time_prekey_id.is_some())],
            self.one_time_prekey_id.unwrap_or_default(),
            &self.ek_a,
            self.ct,
            &(self.c.len() as u16 - 144).to_be_bytes(),
            self.c,
        ])
    }
}

/// The plain header.
#[derive(Clone, Debug)]
pub struct Header {
    pub ratchet_key: Key,
    pub pn: u32,
    pub n: u32,
    pub pq_epoch: u32,
    pub pq_n: u32,
    pub incarnation: u32,
}

impl Header {
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = [self.pn, self.n, self.pq_epoch, self.pq_n, self.incarnation];
        cat(&[&self.ratchet_key, &numbers.map(u32::to_be_bytes).concat()])
    }

    /// Of 52 bytes, every one is a header.
    pub fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let ratchet_key = reader.key().unwrap();
        let [pn, n, pq_epoch, pq_n, incarnation] = std::array::from_fn(|_| reader.number(4).unwrap() as u32);
        Self { ratchet_key, pn, n, pq_epoch, pq_n, incarnation }
    }
}

/// The values that codewords are of: types of section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Header = 1,
    Vector = 2,
    VectorAck = 3,
    Ct1 = 4,
    Ct2 = 5,
}

impl Value {
    const ALL: [Self; 5] = [Self::Header, Self::Vector, Self::VectorAck, Self::Ct1, Self::Ct2];

    /// How many codewords recover it.
    pub fn k(self) -> usize {
        match self {
            Self::Header => 3,
            Self::Vector | Self::VectorAck => 36,
            Self::Ct1 => 30,
            Self::Ct2 => 5,
        }
    }
}

/// Codewords of one value, at least one.
pub type Codewords = Option<(Value, Vec<Codeword>)>;

/// How long bodies are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    None,
    Buckets,
}

impl Padding {
    /// The bucket of m.
    fn bucket(m: usize) -> usize {
        if let Some(bucket) = [256, 512, 1024].into_iter().find(|bucket| *bucket >= m) {
            return bucket;
        }
        let e = m.ilog2();
        let s = e.ilog2() + 1;
        m.next_multiple_of(1 << (e - s))
    }

    /// Length of a body with this content and so many codewords.
    fn length(self, content: usize, count: usize) -> usize {
        let framed = content + 5;
        match self {
            Self::None => (framed + 34 * count).max(16),
            Self::Buckets => Self::bucket(framed + 34),
        }
    }

    /// How many codewords a message may carry.
    pub fn room(self, content: usize) -> usize {
        match self {
            Self::None => 1,
            Self::Buckets => ((self.length(content, 0) - (content + 5)) / 34).min(31),
        }
    }
}

/// The plain body.
pub fn write_body(content: &[u8], codewords: &Codewords, padding: Padding) -> Vec<u8> {
    let mut body = cat(&[&(content.len() as u32).to_be_bytes(), content]);
    let count = codewords.as_ref().map_or(0, |(_, words)| words.len());
    body.push(codewords.as_ref().map_or(0, |(value, _)| (*value as u8) << 5 | count as u8));
    for (index, chunk) in codewords.iter().flat_map(|(_, words)| words) {
        body.extend(cat(&[&index.to_be_bytes(), chunk]));
    }
    body.resize(padding.length(content.len(), count), 0);
    body
}

/// Content and codewords.
pub fn read_body(body: &[u8]) -> Result<(Vec<u8>, Codewords), Refusal> {
    let mut reader = Reader::new(body);
    let content_len = reader.number(4)? as usize;
    if content_len > MAX_CONTENT {
        return Err(Refusal::Malformed);
    }
    let content = reader.take(content_len)?.to_vec();
    let tag = reader.take(1)?[0];
    let (kind, count) = (tag >> 5, tag & 0x1f);
    let value = Value::ALL.into_iter().find(|value| *value as u8 == kind);
    if (value.is_none() && kind != 0) || (kind == 0) != (count == 0) {
        return Err(Refusal::Malformed);
    }
    let mut codewords = Vec::new();
    for _ in 0..count {
        codewords.push((reader.number(2)? as u16, reader.key()?));
    }
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(Refusal::Malformed);
    }
    Ok((content, value.map(|value| (value, codewords))))
}

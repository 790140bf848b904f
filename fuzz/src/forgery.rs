//! Bytes that an attacker sends.

use arbitrary::Arbitrary;

/// Something genuine, edited; or made up altogether.
#[derive(Arbitrary, Debug)]
pub enum Forgery<'a> {
    /// The `original`-th genuine value, edited.
    Edited { original: u8, edits: Vec<Edit> },
    /// These bytes.
    MadeUp(&'a [u8]),
}

/// One change to a byte string. Every place is taken modulo the length.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    Flip {
        at: u16,
        mask: u8,
    },
    Truncate {
        len: u16,
    },
    Remove {
        at: u16,
        len: u8,
    },
    Insert {
        at: u16,
        bytes: [u8; 4],
    },
    Extend {
        byte: u8,
        times: u8,
    },
    /// Overwrites with what the `donor`-th genuine value has in the same place.
    Splice {
        donor: u8,
        at: u16,
        len: u16,
    },
}

impl Forgery<'_> {
    /// The bytes, given the genuine values.
    pub fn bytes(&self, genuine: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::MadeUp(bytes) => bytes.to_vec(),
            Self::Edited { original, edits } => {
                let mut bytes = pick(genuine, *original).to_vec();
                edits.iter().for_each(|edit| edit.apply(&mut bytes, genuine));
                bytes
            }
        }
    }
}

impl Edit {
    /// Changes `bytes`.
    pub fn apply(&self, bytes: &mut Vec<u8>, genuine: &[&[u8]]) {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match *self {
            Self::Flip { at, mask } => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Self::Truncate { len } => bytes.truncate(place(len)),
            Self::Remove { at, len } => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(len));
                bytes.drain(at..end);
            }
            Self::Insert { at, bytes: inserted } => {
                let at = place(at);
                bytes.splice(at..at, inserted);
            }
            Self::Extend { byte, times } => bytes.resize(bytes.len() + usize::from(times), byte),
            Self::Splice { donor, at, len } => {
                let at = place(at);
                let donor = pick(genuine, donor);
                let end = bytes.len().min(donor.len()).min(at + usize::from(len));
                if at < end {
                    bytes[at..end].copy_from_slice(&donor[at..end]);
                }
            }
        }
    }
}

fn pick<'a>(values: &[&'a [u8]], index: u8) -> &'a [u8] {
    values.get(usize::from(index) % values.len().max(1)).copied().unwrap_or_default()
}

//! What a stranger may send in place of genuine bytes. The same in every run.

use rand::Rng;

use crate::common::seeded;

/// How many places of a genuine value are altered.
const PLACES: usize = 100;
/// The longest that is sent, in bytes.
const MIB: usize = 1 << 20;

/// What a length or a count may be: of one, two, four and eight bytes, in either order, and of variable length.
const HUGE: [&[u8]; 7] = [
    &[0xff],
    &[0xff; 2],
    &[0xff; 4],
    &[0xff; 8],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// Gives each of them, and the genuine bytes themselves.
pub(crate) fn forgeries(genuine: &[u8], give: &mut dyn FnMut(&[u8])) {
    let mut bytes = genuine.to_vec();
    give(&bytes);
    for place in places(genuine.len()) {
        give(&genuine[..place]);
        for huge in HUGE {
            let end = genuine.len().min(place + huge.len());
            bytes[place..end].copy_from_slice(&huge[..end - place]);
            give(&bytes);
            bytes[place..end].copy_from_slice(&genuine[place..end]);
        }
    }
    bytes.fill(0xff);
    give(&bytes);
    // Behind something genuine, or the beginning of it: more of something.
    for kept in [genuine.len(), genuine.len() / 2, 1, 0] {
        for (filling, len) in [(0, 1), (0x71, 1), (0xff, 1), (0, 1_000), (0xff, 1_000), (0xff, MIB)] {
            bytes.clear();
            bytes.extend_from_slice(&genuine[..kept.min(genuine.len())]);
            bytes.resize(bytes.len() + len, filling);
            give(&bytes);
        }
    }
    let mut rng = seeded(25);
    for len in (0..70).chain([127, 128, 255, 256, 1_000, 4_096, 65_535, 65_536, MIB]) {
        bytes.resize(len, 0);
        rng.fill_bytes(&mut bytes);
        give(&bytes);
        // As what it pretends to be.
        if let (Some(first), Some(tag)) = (bytes.first_mut(), genuine.first()) {
            *first = *tag;
            give(&bytes);
        }
    }
}

/// The first ones all, then some.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let step = len.div_ceil(PLACES).max(1);
    (0..len).filter(move |place| *place < 60 || place.is_multiple_of(step))
}

/// The same for text.
pub(crate) fn text_forgeries(genuine: &str, give: &mut dyn FnMut(&str)) {
    give(&genuine.to_uppercase());
    give(&genuine.repeat(2));
    let (prefix, data) = genuine.split_at(genuine.find('1').map_or(0, |at| at + 1));
    for len in [0, 1, 50, data.len(), 1_000, 1_023, 1_024, 10_000, MIB] {
        for filling in ["q", "1", " ", "\0", "/", "\u{1f339}"] {
            give(&filling.repeat(len));
            give(&format!("{prefix}{}", filling.repeat(len)));
            give(&format!("{genuine}{}", filling.repeat(len)));
            give(&format!("{}1{data}", filling.repeat(len)));
        }
    }
    forgeries(genuine.as_bytes(), &mut |bytes| {
        if let Ok(text) = str::from_utf8(bytes) {
            give(text);
        }
    });
}

//! The 64 pictures of a short authentication string, as data.
//!
//! Our own selection: one code point each, shown as a picture by default, in Unicode 9 (2016) or before, so that every
//! platform has it; no two that look or sound alike; no faces, people, hands, hearts or flags, which platforms draw
//! differently. In the alphabetical order of the names. The table is part of the protocol: to change it is a new version.

use core::fmt;

/// One picture of a short authentication string, with its name to read aloud.
///
/// [`Display`](fmt::Display) is the picture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Emoji {
    symbol: &'static str,
    name: &'static str,
}

impl Emoji {
    /// The picture: one Unicode code point.
    #[must_use]
    pub fn symbol(&self) -> &'static str {
        self.symbol
    }

    /// What it is in English: one word in lower-case ASCII. Show it below the picture, translated if you like.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The picture that six bits stand for. Higher bits are ignored.
    pub(super) fn of(bits: u64) -> Self {
        let [first, ..] = TABLE;
        usize::try_from(bits % 64).ok().and_then(|index| TABLE.get(index)).copied().unwrap_or(first)
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol)
    }
}

const fn emoji(symbol: &'static str, name: &'static str) -> Emoji {
    Emoji { symbol, name }
}

const TABLE: [Emoji; 64] = [
    emoji("\u{1f47d}", "alien"),
    emoji("\u{1f951}", "avocado"),
    emoji("\u{1f388}", "balloon"),
    emoji("\u{1f50b}", "battery"),
    emoji("\u{1f41d}", "bee"),
    emoji("\u{1f4a3}", "bomb"),
    emoji("\u{1f462}", "boot"),
    emoji("\u{1f35e}", "bread"),
    emoji("\u{1f42b}", "camel"),
    emoji("\u{1f4f7}", "camera"),
    emoji("\u{1f955}", "carrot"),
    emoji("\u{1f3f0}", "castle"),
    emoji("\u{1f9c0}", "cheese"),
    emoji("\u{1f352}", "cherry"),
    emoji("\u{2615}", "coffee"),
    emoji("\u{1f36a}", "cookie"),
    emoji("\u{1f980}", "crab"),
    emoji("\u{1f451}", "crown"),
    emoji("\u{1f48e}", "diamond"),
    emoji("\u{1f3b2}", "dice"),
    emoji("\u{1f6aa}", "door"),
    emoji("\u{1f409}", "dragon"),
    emoji("\u{1f457}", "dress"),
    emoji("\u{1f941}", "drum"),
    emoji("\u{1f986}", "duck"),
    emoji("\u{1f442}", "ear"),
    emoji("\u{1f95a}", "egg"),
    emoji("\u{26f2}", "fountain"),
    emoji("\u{1f98a}", "fox"),
    emoji("\u{1f438}", "frog"),
    emoji("\u{1f47b}", "ghost"),
    emoji("\u{1f347}", "grapes"),
    emoji("\u{1f681}", "helicopter"),
    emoji("\u{1f36f}", "honey"),
    emoji("\u{1f456}", "jeans"),
    emoji("\u{1f428}", "koala"),
    emoji("\u{1f3ee}", "lantern"),
    emoji("\u{1f34b}", "lemon"),
    emoji("\u{1f36d}", "lollipop"),
    emoji("\u{1f341}", "maple"),
    emoji("\u{1f3c5}", "medal"),
    emoji("\u{1f989}", "owl"),
    emoji("\u{1f334}", "palm"),
    emoji("\u{1f3b9}", "piano"),
    emoji("\u{1f34d}", "pineapple"),
    emoji("\u{1f37f}", "popcorn"),
    emoji("\u{1f383}", "pumpkin"),
    emoji("\u{1f4fb}", "radio"),
    emoji("\u{1f308}", "rainbow"),
    emoji("\u{1f339}", "rose"),
    emoji("\u{26f5}", "sailboat"),
    emoji("\u{1f3b7}", "saxophone"),
    emoji("\u{1f40c}", "snail"),
    emoji("\u{26c4}", "snowman"),
    emoji("\u{2b50}", "star"),
    emoji("\u{1f33b}", "sunflower"),
    emoji("\u{26fa}", "tent"),
    emoji("\u{1f3ab}", "ticket"),
    emoji("\u{1f69c}", "tractor"),
    emoji("\u{1f3bb}", "violin"),
    emoji("\u{1f30b}", "volcano"),
    emoji("\u{231a}", "watch"),
    emoji("\u{1f30a}", "wave"),
    emoji("\u{1f433}", "whale"),
];

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, format};

    use super::*;

    #[test]
    fn there_are_64_that_differ_in_picture_and_name() {
        let all: BTreeSet<_> = (0..64).map(|bits| Emoji::of(bits).symbol()).collect();
        let names: BTreeSet<_> = TABLE.iter().map(Emoji::name).collect();
        assert_eq!((all.len(), names.len()), (64, 64));
        assert_eq!(Emoji::of(64), Emoji::of(0));
        assert!(TABLE.is_sorted_by_key(Emoji::name), "the order that SPEC says");
    }

    #[test]
    fn each_is_one_code_point_and_one_short_word() {
        for emoji in TABLE {
            assert_eq!(emoji.symbol().chars().count(), 1, "{emoji:?}");
            assert!(emoji.symbol().chars().all(|c| c as u32 > 0x2300), "{emoji:?}");
            assert!((3..=10).contains(&emoji.name().len()), "{emoji:?}");
            assert!(emoji.name().bytes().all(|b| b.is_ascii_lowercase()), "{emoji:?}");
            assert_eq!(format!("{emoji}"), emoji.symbol());
        }
    }
}

//! Safety numbers: sixty digits to read to each other, or a code to scan.

use alloc::{format, string::String};
use core::fmt;

use bech32::Hrp;

use crate::{
    Error, UserId,
    crypto::kdf::{self, Label},
    wire::{
        codec::{Kind, Reader},
        text,
    },
};

/// The version of the digits. Both sides must have the same, or the digits differ: a new one comes with a new version of
/// the code, which tells.
const VERSION: u8 = 1;

/// How often a key is hashed for its digits, after the first time.
///
/// 30 digits are 10^30 possibilities, somewhat less than 2^100. Who wants a key of his own with somebody's digits tries that
/// many keys, and each takes 5,201 hashes: 2^112 of SHA-512 in all, for one victim.
const ROUNDS: u32 = 5_200;

/// The step byte of a code. 1 to 3 are messages of the short authentication string.
const STEP: u8 = 0;

/// Human-readable part of the text form of a code.
const TEXT_PREFIX: Hrp = Hrp::parse_unchecked("srscan");

/// What two users compare to know that nobody is in between: the same 60 digits on both sides.
///
/// Side by side one shows a code and the other scans it; at a distance, over a channel on which they know each other, they
/// read the digits, all of them. The number depends on the two users' root keys and on nothing else: it stays
/// the same when devices come and go, and is another one when one of them is [another user](UserId).
///
/// ```
/// use subrosa::{SafetyNumber, Scan, Trust, UserId, Device, store::MemoryStore, StorageKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut alice = Device::create(MemoryStore::new(), &StorageKey::generate())?;
/// # let bob = Device::create(MemoryStore::new(), &StorageKey::generate())?;
/// // On Bob's phone, in his chat with Alice.
/// let number = SafetyNumber::new(&bob.user(), &alice.user())?;
/// let (shown, qr) = (number.to_string(), number.scannable_text());
///
/// // On Alice's, in her chat with Bob.
/// let number = SafetyNumber::new(&alice.user(), &bob.user())?;
/// assert_eq!(number.to_string(), shown);            // they compare it with their eyes, or
/// match number.verify_scanned(&qr)? {               // her camera has read his code
///     Scan::Match(bob) => drop(alice.set_trust(&bob, Trust::Verified)?),
///     Scan::Mismatch => println!("Whoever shows this is not the one you write to."),
///     Scan::WrongPair => println!("This code is for another chat. Ask for that of the chat with you."),
///     Scan::OtherVersion => println!("One of you has to update the app first."),
/// }
/// # assert_eq!(alice.user_info(&bob.user())?.unwrap().trust, Trust::Verified);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SafetyNumber {
    me: UserId,
    peer: UserId,
    /// Both users' halves in ascending order, each six numbers below 100,000.
    halves: [[u32; 6]; 2],
}

/// What a scanned code says. Only [`Match`](Self::Match) verifies anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Scan {
    /// Both sides have the right key of each other. This is who was verified, for
    /// [`Device::set_trust`](crate::Device::set_trust).
    Match(UserId),
    /// Whoever shows the code has another key than the one that is held for the peer. Somebody is in between, or the peer
    /// has set up anew, or it is not the peer who shows it. Warn, and verify nobody.
    Mismatch,
    /// The code is not for this pair. The peer, whose key is right, has another chat open, *or was given another key for
    /// this user*: if it stays so with the right chat open, treat it as [`Self::Mismatch`]. Or it is this user's own code.
    WrongPair,
    /// The code is of another version: an app has to be updated. Says nothing about the keys.
    OtherVersion,
}

impl SafetyNumber {
    /// Length of [`Self::scannable`], in bytes.
    pub const SCANNABLE_LEN: usize = 2 + 2 * UserId::LEN;

    /// The number of this user and another one. Takes some 3 ms, by design: keep it while it is on the screen.
    ///
    /// # Errors
    /// [`Error::SameUser`] if there are not two of them.
    pub fn new(me: &UserId, peer: &UserId) -> Result<Self, Error> {
        if me == peer {
            return Err(Error::SameUser);
        }
        let mut halves = [half(me), half(peer)];
        halves.sort_unstable();
        Ok(Self { me: *me, peer: *peer, halves })
    }

    /// The other user, whom comparing the digits verifies.
    #[must_use]
    pub fn peer(&self) -> &UserId {
        &self.peer
    }

    /// The code that the other side scans: `0x81` | `0x00` | this user 32 | the other user 32, 66 bytes. Public keys, no
    /// secret.
    ///
    /// Scanners that return text spoil bytes: put [`Self::scannable_text`] into a QR code.
    #[must_use]
    pub fn scannable(&self) -> [u8; Self::SCANNABLE_LEN] {
        let mut code = [0; Self::SCANNABLE_LEN];
        let (head, users) = code.split_at_mut(2);
        head.copy_from_slice(&[Kind::Verification.tag(), STEP]);
        let (me, peer) = users.split_at_mut(UserId::LEN);
        me.copy_from_slice(self.me.as_bytes());
        peer.copy_from_slice(self.peer.as_bytes());
        code
    }

    /// The code as text, 119 upper-case letters and digits: bech32m with the prefix `SRSCAN`. A QR code has an alphanumeric
    /// mode for such text, in which it is no larger than with the bytes, and every scanner returns it unharmed.
    #[must_use]
    pub fn scannable_text(&self) -> String {
        struct Text<'a>(&'a [u8]);

        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                text::write(f, TEXT_PREFIX, self.0)
            }
        }

        format!("{}", Text(&self.scannable())).to_ascii_uppercase()
    }

    /// Judges what was scanned from the other side's screen: a code as bytes or as text, in upper or lower case.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no code of this kind at all: of another length, altered, or with a key that is none.
    pub fn verify_scanned(&self, code: impl AsRef<[u8]>) -> Result<Scan, Error> {
        let code = code.as_ref();
        // The first byte of the bytes is not ASCII: they never look like text.
        match core::str::from_utf8(code) {
            Ok(text) if !text.is_empty() => self.judge(&text::read_bytes(TEXT_PREFIX, text)?),
            _ => self.judge(code),
        }
    }

    fn judge(&self, code: &[u8]) -> Result<Scan, Error> {
        let mut reader = Reader::new(code);
        match Kind::Verification.expect(reader.u8()?) {
            // What is behind the first byte is another version's business.
            Err(Error::UnsupportedVersion) => return Ok(Scan::OtherVersion),
            kind => kind?,
        }
        if reader.u8()? != STEP {
            return Err(Error::Malformed);
        }
        let user = |bytes: &[u8; UserId::LEN]| UserId::from_bytes(bytes).map_err(|_| Error::Malformed);
        let (shown_by, shown_for) = (user(reader.array()?)?, user(reader.array()?)?);
        reader.finish()?;
        Ok(match (shown_by == self.peer, shown_for == self.me) {
            (true, true) => Scan::Match(self.peer),
            (true, false) => Scan::WrongPair,
            (false, _) if shown_by == self.me => Scan::WrongPair,
            (false, _) => Scan::Mismatch,
        })
    }
}

/// Twelve groups of five digits, with a space between: 71 characters in one line.
impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, group) in self.halves.as_flattened().iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{group:05}")?;
        }
        Ok(())
    }
}

/// The thirty digits of one user, out of that user's key alone: 40 bits for every five, so that no digit is likelier than
/// another by more than 2^-23.
fn half(user: &UserId) -> [u32; 6] {
    let hash = kdf::stretch(Label::SAFETY_NUMBER, VERSION, user.as_bytes(), ROUNDS);
    let (chunks, _) = hash.as_chunks::<5>();
    let mut half = [0; 6];
    for (group, chunk) in half.iter_mut().zip(chunks) {
        // The remainder by the way of bytes: 99,999 * 256 + 255 fits.
        *group = chunk.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % 100_000);
    }
    half
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;
    use crate::roster::fixture::{bad_keys, root};

    fn user(seed: u8) -> UserId {
        *root(seed).user_id()
    }

    fn number(me: u8, peer: u8) -> SafetyNumber {
        SafetyNumber::new(&user(me), &user(peer)).unwrap()
    }

    #[test]
    fn both_sides_have_the_same_sixty_digits() {
        let (alices, bobs) = (number(1, 2).to_string(), number(2, 1).to_string());
        assert_eq!(alices, bobs);
        let groups: Vec<&str> = alices.split(' ').collect();
        assert_eq!((groups.len(), alices.len()), (12, 71));
        assert!(groups.iter().all(|group| group.len() == 5 && group.bytes().all(|b| b.is_ascii_digit())));
        // Each half is of one user alone.
        let others = number(1, 3).to_string();
        assert_ne!(alices, others);
        let halves = |text: &str| [text[..35].to_string(), text[36..].to_string()];
        assert_eq!(halves(&alices).iter().filter(|half| halves(&others).contains(half)).count(), 1);
        assert!(alices[..35] < alices[36..] && others[..35] < others[36..], "in order");
    }

    #[test]
    fn groups_are_big_endian_remainders() {
        let hash = kdf::stretch(Label::SAFETY_NUMBER, 1, user(1).as_bytes(), 5_200);
        for (group, chunk) in half(&user(1)).iter().zip(hash.chunks(5)) {
            let number = chunk.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            assert_eq!(u64::from(*group), number % 100_000);
        }
    }

    #[test]
    fn small_groups_keep_their_zeros() {
        let mut small = number(1, 2);
        small.halves = [[0, 1, 23, 456, 7_890, 99_999], [99_999; 6]];
        assert!(small.to_string().starts_with("00000 00001 00023 00456 07890 99999 99999 "));
    }

    #[test]
    fn one_user_has_no_number() {
        assert_eq!(SafetyNumber::new(&user(1), &user(1)).err(), Some(Error::SameUser));
    }

    #[test]
    fn codes_are_judged_by_both_keys() {
        let (alice, bob, mallory) = (user(1), user(2), user(3));
        let shown = |by: &UserId, to: &UserId| SafetyNumber::new(by, to).unwrap();
        let alices = shown(&alice, &bob);
        for (by, to, expected) in [
            (&bob, &alice, Scan::Match(bob)),
            // Mallory is in between, in both directions or in one.
            (&bob, &mallory, Scan::WrongPair),
            (&mallory, &alice, Scan::Mismatch),
            (&mallory, &bob, Scan::Mismatch),
            // Her own screen.
            (&alice, &bob, Scan::WrongPair),
            (&alice, &mallory, Scan::WrongPair),
        ] {
            let number = shown(by, to);
            assert_eq!(alices.verify_scanned(number.scannable()), Ok(expected));
            assert_eq!(alices.verify_scanned(number.scannable_text()), Ok(expected));
            assert_eq!(alices.verify_scanned(number.scannable_text().to_lowercase()), Ok(expected));
        }
    }

    #[test]
    fn codes_have_one_form() {
        let (alices, code, text) = (number(1, 2), number(2, 1).scannable(), number(2, 1).scannable_text());
        assert_eq!(code[..2], [0x81, 0]);
        assert_eq!((&code[2..34], &code[34..]), (&user(2).to_bytes()[..], &user(1).to_bytes()[..]));
        assert!(text.starts_with("SRSCAN1") && text.len() == 119, "{text}");
        assert!(text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
        let long = [&code[..], &[0; 100_000]].concat();
        let refused =
            |code: &[u8]| assert_eq!(alices.verify_scanned(code), Err(Error::Malformed), "{code:?}");
        (0..66).for_each(|len| refused(&code[..len]));
        (67..70).for_each(|len| refused(&long[..len]));
        refused(&long);
        refused(&[b'7'; 100_000]);
        (0..text.len()).for_each(|len| refused(&text.as_bytes()[..len]));
        refused(format!("{text} ").as_bytes());
        refused(format!("{}{}", &text[..20], text[20..].to_lowercase()).as_bytes());
        refused(user(2).to_string().as_bytes());
        // Another kind, another step.
        for (at, values) in [(0, &[0x11, 0x71, 0x91, 0xf1, 0][..]), (1, &[1, 2, 3, 0xff])] {
            for value in values {
                let mut altered = code;
                altered[at] = *value;
                refused(&altered);
            }
        }
        for bad in bad_keys() {
            for at in [2, 34] {
                let mut altered = code;
                altered[at..at + 32].copy_from_slice(&bad);
                refused(&altered);
            }
        }
    }

    #[test]
    fn other_versions_are_told_apart_whatever_follows() {
        let (alices, code) = (number(1, 2), number(2, 1).scannable());
        for first in [0x80, 0x82, 0x8f] {
            let mut other = code;
            other[0] = first;
            let longer = [&other[..], &[7; 14]].concat();
            for code in [&other[..1], &other, &longer] {
                assert_eq!(alices.verify_scanned(code), Ok(Scan::OtherVersion));
                let text = bech32::encode_upper::<bech32::Bech32m>(TEXT_PREFIX, code).unwrap();
                assert_eq!(alices.verify_scanned(text), Ok(Scan::OtherVersion));
            }
        }
    }

    /// No other code matches: every bit counts.
    #[test]
    fn one_code_in_all_matches() {
        let (alices, code) = (number(1, 2), number(2, 1).scannable());
        for bit in 0..code.len() * 8 {
            let mut altered = code;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(alices.verify_scanned(altered), Ok(Scan::Match(_))), "bit {bit}");
        }
        let verified = alices.verify_scanned(code).unwrap();
        assert_eq!((verified, *alices.peer()), (Scan::Match(user(2)), user(2)));
    }
}

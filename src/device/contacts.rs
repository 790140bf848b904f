//! What is known of users, for a device that knows nothing yet: in a link's grant, and in a backup.
//!
//! ```text
//! contacts = count u32 | count x (UserId 32 | trust u8 | version u32 | hash 32 | length u16 | device list)
//! ```
//! In ascending order of user ids. Strangers and this user are not among them. Version 0 with a hash of zeros, and no
//! list: none is known.

use super::{
    DeviceError, Trust,
    records::{Standing, Stored, UserRecord},
    vault::Vault,
};
use crate::{DeviceList, Error, UserId, roster::KnownList, store::Store, wire::codec::Reader};

/// How many records are read at once.
const PAGE: usize = 256;

/// All contacts that a store has, encoded; without those whose records do not open.
pub(super) fn encode<S: Store>(vault: &Vault<S>, own: &UserId) -> Result<Vec<u8>, DeviceError> {
    let (mut contacts, mut after) = (Vec::new(), 0);
    loop {
        let page = vault.store.list(UserRecord::TABLE as u8, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for record in &page {
            let user: UserRecord = match vault.open(record) {
                Err(DeviceError::Damaged) => continue,
                user => user?,
            };
            if (user.standing == Standing::Contact || user.trust == Trust::Blocked) && user.id != *own {
                contacts.push(user);
            }
        }
    }
    Ok(encode_all(contacts))
}

pub(super) fn encode_all(mut contacts: Vec<UserRecord>) -> Vec<u8> {
    contacts.sort_by_key(|user| user.id.to_bytes());
    let mut out = u32::try_from(contacts.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    for user in &contacts {
        let known = user.known.unwrap_or(KnownList { version: 0, hash: [0; 32] });
        let list = user.list.as_deref().unwrap_or_default();
        out.extend_from_slice(&user.id.to_bytes());
        out.push(user.trust as u8);
        out.extend_from_slice(&known.version.to_be_bytes());
        out.extend_from_slice(&known.hash);
        out.extend_from_slice(&u16::try_from(list.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(list);
    }
    out
}

/// Reads what [`encode`] wrote; each list is checked again.
pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Vec<UserRecord>, Error> {
    let mut contacts: Vec<UserRecord> = Vec::new();
    for _ in 0..reader.u32()? {
        let contact = decode_one(reader)?;
        // Each user once, and one encoding of all of them.
        if contacts.last().is_some_and(|last| last.id.to_bytes() >= contact.id.to_bytes()) {
            return Err(Error::Malformed);
        }
        contacts.push(contact);
    }
    Ok(contacts)
}

fn decode_one(reader: &mut Reader<'_>) -> Result<UserRecord, Error> {
    let id = UserId::from_bytes(reader.array::<{ UserId::LEN }>()?)?;
    let trust = Trust::from_byte(reader.u8()?).ok_or(Error::Malformed)?;
    let known = KnownList { version: reader.u32()?, hash: *reader.array()? };
    let len = reader.u16()?.into();
    let list = match reader.slice(len)? {
        [] => None,
        bytes => Some(DeviceList::from_bytes(bytes)?),
    };
    let contradicts = |list: &DeviceList| {
        *list.user_id() != id
            || list.version() > known.version
            || (list.version() == known.version && *list.hash() != known.hash)
    };
    if list.as_ref().is_some_and(contradicts) || (known.version == 0 && known.hash != [0; 32]) {
        return Err(Error::Malformed);
    }
    let known = (known.version > 0).then_some(known);
    let standing = if trust == Trust::Blocked { Standing::Listed } else { Standing::Contact };
    Ok(UserRecord { trust, standing, ..UserRecord::new(id, known, list.as_ref()) })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::roster::fixture::{BAD_KEYS, list, root};

    /// One of each kind: a list; a list that was replaced; known by a certificate only; nothing known.
    fn contacts() -> Vec<UserRecord> {
        let first = list(&root(2), None, 1);
        let replaced = KnownList { version: 9, hash: [0x9a; 32] };
        let contact = |seed, trust, known, list: Option<&DeviceList>| UserRecord {
            trust,
            ..UserRecord::new(*root(seed).user_id(), known, list)
        };
        vec![
            contact(1, Trust::Verified, None, Some(&list(&root(1), None, 2))),
            contact(2, Trust::Unverified, Some(replaced), Some(&first)),
            contact(3, Trust::Blocked, Some(replaced), None),
            contact(4, Trust::Verified, None, None),
        ]
    }

    fn read(bytes: &[u8]) -> Result<Vec<UserRecord>, Error> {
        let mut reader = Reader::new(bytes);
        let contacts = decode(&mut reader)?;
        reader.finish()?;
        Ok(contacts)
    }

    fn error(bytes: &[u8]) -> Option<Error> {
        read(bytes).err()
    }

    /// One contact by hand.
    fn one(user: u8, trust: u8, version: u32, hash: u8, list: &[u8]) -> Vec<u8> {
        let len = u16::try_from(list.len()).unwrap().to_be_bytes();
        let id = root(user).user_id().to_bytes();
        [&1u32.to_be_bytes(), &id[..], &[trust], &version.to_be_bytes(), &[hash; 32], &len, list].concat()
    }

    #[test]
    fn come_back_as_they_were() {
        let bytes = encode_all(contacts());
        let read = read(&bytes).unwrap();
        assert_eq!(read.len(), 4);
        for contact in contacts() {
            let found = read.iter().find(|user| user.id == contact.id).unwrap();
            assert_eq!((found.trust, found.known), (contact.trust, contact.known));
            assert_eq!(found.list, contact.list);
        }
        assert_eq!(encode_all(read), bytes);
        let mut reversed = contacts();
        reversed.reverse();
        assert_eq!(encode_all(reversed), bytes);
        assert_eq!(encode_all(Vec::new()), [0; 4]);
    }

    #[test]
    fn a25_truncated_extended_and_bombed() {
        let bytes = encode_all(contacts());
        for len in 0..bytes.len() {
            assert_eq!(error(&bytes[..len]), Some(Error::Malformed), "{len}");
        }
        assert_eq!(error(&[&bytes[..], &[0]].concat()), Some(Error::Malformed));
        for count in [0, 3, 5, u32::MAX] {
            let mut altered = bytes.clone();
            altered[..4].copy_from_slice(&count.to_be_bytes());
            assert_eq!(error(&altered), Some(Error::Malformed), "{count}");
        }
        assert_eq!(error(&one(1, 0, 1, 1, &[])), None);
        let mut long = one(1, 0, 1, 1, &[]);
        let end = long.len();
        long[end - 2..].fill(0xff);
        assert_eq!(error(&long), Some(Error::Malformed));
    }

    #[test]
    fn a25_each_field() {
        let own = list(&root(1), None, 1);
        let (bytes, hash) = (own.to_bytes(), *own.hash());
        let mut good = one(1, 2, 1, 0, &bytes);
        good[41..73].copy_from_slice(&hash);
        assert_eq!(error(&good), None);
        assert_eq!(error(&one(1, 3, 1, 1, &[])), Some(Error::Malformed));
        // No list has version 0, and none a hash then.
        assert_eq!(error(&one(1, 0, 0, 0, &[])), None);
        assert_eq!(error(&one(1, 0, 0, 1, &[])), Some(Error::Malformed));
        assert_eq!(error(&one(1, 0, 0, 0, &bytes)), Some(Error::Malformed));
        // The list contradicts what is known; is another user's; is forged.
        assert_eq!(error(&one(1, 0, 1, 7, &bytes)), Some(Error::Malformed));
        assert_eq!(error(&one(1, 0, 2, 7, &bytes)), None);
        assert_eq!(error(&one(2, 0, 2, 7, &bytes)), Some(Error::Malformed));
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(error(&forged).is_some());
        for key in BAD_KEYS {
            let mut bad = good.clone();
            bad[4..36].copy_from_slice(&hex::decode(key).unwrap());
            assert_eq!(error(&bad), Some(Error::InvalidKey));
        }
    }

    /// Twice the same user, or in another order.
    #[test]
    fn a25_one_encoding() {
        let contact = |user| one(user, 1, 0, 0, &[])[4..].to_vec();
        let (a, b) = (contact(1), contact(2));
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let both = |first: &[u8], second: &[u8]| [&[0, 0, 0, 2], first, second].concat();
        assert_eq!(error(&both(&low, &high)), None);
        assert_eq!(error(&both(&high, &low)), Some(Error::Malformed));
        assert_eq!(error(&both(&low, &low)), Some(Error::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a25_arbitrary_bytes(
            count in 0..3u8,
            tail in vec(any::<u8>(), 0..300),
            position in 4..300usize,
            altered in any::<bool>(),
        ) {
            let mut bytes = [&[0, 0, 0, count], &tail[..]].concat();
            if altered {
                bytes = encode_all(contacts());
                if let (Some(place), Some(value)) = (bytes.get_mut(position), tail.first()) {
                    *place = *value;
                }
            }
            if let Ok(contacts) = read(&bytes) {
                prop_assert_eq!(encode_all(contacts), bytes);
            }
        }
    }
}

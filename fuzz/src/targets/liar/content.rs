//! What a device of Mallory's tells Bob's.

use arbitrary::Arbitrary;
use subrosa::DeviceList;

use super::{
    super::super::{
        Edit,
        mallory::{MALLORY, user_key},
        reference::primitives::cat,
        users::{List, claim, payload},
    },
    World,
};

#[derive(Arbitrary, Debug)]
pub struct Content {
    own: Known,
    peers: Known,
    ack: Option<Place>,
    asks: Option<[Place; 2]>,
    gone: Option<[Place; 2]>,
    lists: Option<[Which; 2]>,
    certificate: Option<u8>,
    body: Option<Body>,
    pub(super) edit: Option<Edit>,
}

/// What Mallory says that she knows.
#[derive(Arbitrary, Debug)]
pub enum Known {
    Nothing,
    Version { version: u32, hash: u8 },
    List(Which),
}

#[derive(Arbitrary, Debug)]
pub enum Which {
    Mallorys(u8),
    Alices,
    Bobs,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Place {
    /// Of her own streams.
    Own { stream: u8, number: u32 },
    /// Of Bob's, which she has seen.
    Seen { index: u8, ahead: u8 },
}

#[derive(Arbitrary, Debug)]
pub struct Body {
    place: Place,
    id: u8,
    resent: bool,
    kind: u8,
    text: [u8; 4],
    of_alice: bool,
}

impl World {
    pub(super) fn content(&self, content: &Content) -> Vec<u8> {
        let mut flags = 0;
        let mut out = cat(&[&self.known(&content.own), &self.known(&content.peers)]);
        if let Some(ack) = content.ack {
            flags |= 0x01;
            out.extend(self.place(ack));
        }
        for (flag, places) in [(0x02, content.asks), (0x04, content.gone)] {
            if let Some(places) = places {
                flags |= flag;
                out.push(2);
                places.iter().for_each(|place| out.extend(self.place(*place)));
            }
        }
        if let Some(lists) = &content.lists {
            flags |= 0x08;
            out.push(2);
            for list in lists.iter().map(|which| self.which(which)) {
                out.extend(cat(&[&(list.bytes.len() as u16).to_be_bytes(), &list.bytes]));
            }
        }
        if let Some(list) = content.certificate {
            flags |= 0x10;
            let (identity, root) = (&MALLORY.devices[0], &MALLORY.roots[0]);
            let certificate = root.certificate(&identity.ik, &claim(identity, &root.user), self.list(list));
            out.extend(payload(&certificate, &self.bobs_key()));
        }
        if let Some(Body { place, id, resent, kind, text, of_alice }) = &content.body {
            flags |= if *resent { 0x60 } else { 0x20 };
            out.extend(cat(&[&self.place(*place), &[*id; 16], &[*kind % 5]]));
            if kind % 5 > 1 {
                let user = if *of_alice { user_key(&self.alice().user) } else { MALLORY.roots[1].user };
                out.extend(user);
            }
            out.extend(text);
        }
        cat(&[&[1, flags], &out])
    }

    fn which(&self, which: &Which) -> List {
        let of = match which {
            Which::Mallorys(index) => return self.list(*index).clone(),
            Which::Alices => 0,
            Which::Bobs => 2,
        };
        let bytes = self.honest_list(of);
        let list = DeviceList::from_bytes(&bytes).expect("honest");
        List { bytes, version: list.version(), hash: *list.hash(), expires: list.expires().as_secs() }
    }

    fn known(&self, known: &Known) -> Vec<u8> {
        match known {
            Known::Nothing => vec![0; 20],
            Known::Version { version, hash } => cat(&[&version.to_be_bytes(), &[*hash; 16]]),
            Known::List(which) => {
                let list = self.which(which);
                cat(&[&list.version.to_be_bytes(), &list.hash[..16]])
            }
        }
    }

    fn place(&self, place: Place) -> Vec<u8> {
        match place {
            Place::Own { stream, number } => cat(&[&[stream; 8], &number.to_be_bytes()]),
            Place::Seen { index, ahead } => {
                let place =
                    usize::from(index).checked_rem(self.seen.len()).map_or([0; 12], |at| self.seen[at]);
                let number = place[8..].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
                cat(&[&place[..8], &number.wrapping_add(u32::from(ahead)).to_be_bytes()])
            }
        }
    }
}

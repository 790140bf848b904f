//! Mallory, a user whose devices keep to no rule, and Bob, who has read her first message.

use std::sync::LazyLock;

use subrosa::{Device, PreKeyBundle, UserId};

use super::{
    NOW,
    reference::{
        prekeys::{Bundle, Identity, Prekeys},
        primitives::{Key, cat},
        session::Session,
        tape,
    },
    town::{
        Town,
        world::{DAY, TestClock, TestStore},
    },
    users::{self, List, Root, claim, entry, payload},
};

/// Made once per process.
pub static MALLORY: LazyLock<Mallory> = LazyLock::new(Mallory::new);

/// How many devices Mallory has.
pub const DEVICES: usize = 3;

pub struct Mallory {
    /// She has two users to speak for.
    pub roots: [Root; 2],
    pub devices: [Identity; DEVICES],
    pub prekeys: Vec<Prekeys>,
    /// Of the first root, version 1: the first device.
    pub list: List,
    /// Bob's, without and with a one-time prekey.
    pub bundles: Vec<Bundle>,
    /// Bob's, before he has heard of Mallory, and after.
    pub before: TestStore,
    pub after: TestStore,
    /// Of the first device with Bob, not answered.
    pub session: Session,
}

/// Content of a message between devices, with a text, and nothing known of any list.
pub fn text(list: Option<&List>, stream: [u8; 8], number: u32, id: [u8; 16], bytes: &[u8]) -> Vec<u8> {
    let own = list.map_or_else(|| vec![0; 20], |list| cat(&[&list.version.to_be_bytes(), &list.hash[..16]]));
    let flags = if list.is_some() { 0x28 } else { 0x20 };
    let lists = list
        .map_or_else(Vec::new, |list| cat(&[&[1], &(list.bytes.len() as u16).to_be_bytes(), &list.bytes]));
    cat(&[&[1, flags], &own, &[0; 20], &lists, &stream, &number.to_be_bytes(), &id, &[1, 0], bytes])
}

impl Mallory {
    fn new() -> Self {
        let roots = [Root::new([41; 32]), Root::new([42; 32])];
        let devices = [0, 1, 2].map(users::identity);
        let prekeys = devices
            .iter()
            .zip(0_u16..)
            .map(|(device, at)| Prekeys::generate(device, 1, NOW.as_secs(), &mut tape(5_000 + 300 * at)))
            .collect();
        let now = NOW.as_secs();
        let first = entry(&devices[0], &roots[0].user);
        let list = roots[0].list(1, &[0; 32], [now, now + 90 * DAY], &[first]);

        let store = Town::store(2);
        let mut bob = Device::open(store.clone(), TestClock::default().config()).expect("as it was made");
        let public = bob.publication(0).expect("it works");
        let before = store.snapshot();
        let bundles: Vec<_> = [None, public.one_time_prekeys.first().cloned()]
            .map(|one_time| PreKeyBundle::new(public.identity_key, public.signed_prekey.clone(), one_time))
            .iter()
            .map(|bundle| Bundle::read(&bundle.to_bytes()).expect("an honest bundle"))
            .collect();
        let certificate = roots[0].certificate(&devices[0].ik, &claim(&devices[0], &roots[0].user), &list);
        let payload = payload(&certificate, &bob.user().to_bytes());
        let tape = &mut tape(7);
        let mut session = Session::initiate(&devices[0], &bundles[1], &payload, tape).expect("a good bundle");
        let content = text(Some(&list), [7; 8], 0, [1; 16], b"hello");
        let message = session.encrypt(&content, tape).expect("room for more");
        let received = bob.receive(&message, None).expect("an honest message");
        bob.acknowledge(received.iter().map(|received| received.id)).expect("it works");
        drop(bob);
        Self { roots, devices, prekeys, list, bundles, before, after: store, session }
    }

    pub fn user(&self, root: usize) -> UserId {
        UserId::from_bytes(&self.roots[root].user).expect("a key that was made here")
    }
}

/// Bob's device, over a copy of this store.
pub fn bob(store: &TestStore, clock: &TestClock) -> (Device<TestStore>, TestStore) {
    let store = store.snapshot();
    (Device::open(store.clone(), clock.config()).expect("as it was made"), store)
}

/// The first half of an identity key, which is what a user's key looks like, too.
pub fn user_key(user: &UserId) -> Key {
    user.to_bytes()
}

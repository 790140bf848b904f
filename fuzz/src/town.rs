//! Two users with three devices, a server, and stores that fail on demand: as the tests have them.

use std::sync::LazyLock;

use subrosa::{Device, DeviceError, Missing, Received};

use super::NOW;

#[path = "../../tests/common/world.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
pub mod world;

use world::{Phone, Server, TestClock, TestStore, link};

/// Made once per process: two devices of Alice's, the first of which has the root key, and one of Bob's; what they have
/// written to each other has arrived.
static BEGINNING: LazyLock<Beginning> = LazyLock::new(Beginning::new);

struct Beginning {
    server: Server,
    stores: Vec<TestStore>,
}

impl Beginning {
    fn new() -> Self {
        let (clock, mut server) = (TestClock::default(), Server::default());
        let mut alice = Phone::new(&clock, &mut server);
        let second = link(&mut alice, &mut server);
        let bob = Phone::new(&clock, &mut server);
        let mut phones = [alice, second, bob];
        let users = [phones[0].user(), phones[2].user()];
        for to in [users[1], users[0], users[1]] {
            for phone in &mut phones {
                if phone.user() != to {
                    phone.say(&mut server, &to, "hello");
                }
            }
            for phone in &mut phones {
                phone.poll(&mut server);
            }
        }
        server.log.clear();
        Self { server, stores: phones.iter().map(|phone| phone.store.snapshot()).collect() }
    }
}

/// A copy of the beginning, to do with as one likes.
pub struct Town {
    pub clock: TestClock,
    pub server: Server,
    pub phones: Vec<Phone>,
}

impl Town {
    pub fn new() -> Self {
        let (clock, server) = (TestClock::default(), BEGINNING.server.clone());
        let open = |store: &TestStore| {
            let store = store.snapshot();
            let device = Device::open(store.clone(), clock.config()).expect("as it was made");
            Phone { device, store, clock: clock.clone() }
        };
        let phones = BEGINNING.stores.iter().map(open).collect();
        Self { clock, server, phones }
    }

    /// Everything that is stored of a device, as it was at the beginning.
    pub fn store(of: usize) -> TestStore {
        BEGINNING.stores[of].snapshot()
    }

    /// Asks the server for what is missing. What it has may be refused.
    pub fn fetch(&mut self, of: usize, missing: &Missing) -> Result<Vec<Received>, DeviceError> {
        let (device, mut received) = (&mut self.phones[of].device, Vec::new());
        for user in &missing.lists {
            match self.server.list(user).map(|list| device.provide(&list)) {
                Some(Err(error @ DeviceError::Store(_))) => return Err(error),
                Some(Ok(events)) => received.extend(events),
                Some(Err(_)) | None => {}
            }
        }
        for address in &missing.bundles {
            let bundle = self.server.bundle(address);
            if let Err(error @ DeviceError::Store(_)) = device.provide_bundle(address, bundle.as_deref()) {
                return Err(error);
            }
        }
        Ok(received)
    }
}

//! A session in two halves: what is stored of it after each message is what is in memory.

use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A session that is stored as its documentation says: the hot half always, the cold one when it is another one.
struct Stored {
    session: Session,
    hot: Vec<u8>,
    cold: Vec<u8>,
    generation: u64,
}

impl Stored {
    fn new(session: Session, key: &StorageKey) -> Self {
        let (hot, cold, generation) =
            (session.seal_hot(key), session.seal_cold(key), session.cold_generation());
        Self { session, hot, cold, generation }
    }

    fn store(&mut self, key: &StorageKey) {
        self.hot = self.session.seal_hot(key);
        if self.session.cold_generation() != self.generation {
            (self.cold, self.generation) = (self.session.seal_cold(key), self.session.cold_generation());
        }
    }
}

fn plain(cold: &Cold) -> Vec<u8> {
    postcard::to_allocvec(cold).unwrap()
}

/// Messages get lost, are late by dozens or by many epochs; now and then one side writes alone for long. In the second schedule none is
/// lost, and now and then all that are on their way arrive.
#[test]
fn the_cold_half_changes_when_it_says_so_and_else_never() {
    for seed in 0..2 {
        let mut rng = chacha20::ChaCha20Rng::seed_from_u64(seed);
        let key = StorageKey::from_bytes(&[seed as u8; 32]);
        let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
        let mut prekeys = PreKeys::generate(&bob, 1, NOW);
        let mut first = Session::initiate(&alice, prekeys.bundle().verify(NOW).unwrap()).unwrap();
        let message = first.encrypt(b"first").unwrap();
        let (second, _) = Session::accept(&bob, &mut prekeys, &message).unwrap();
        let mut sides = [Stored::new(first, &key), Stored::new(second, &key)];
        let mut travelling = [Vec::new(), Vec::new()];
        let (mut changed, mut read, mut emptied, mut alone) = (0, 0, 0, None);
        for round in 0..2_000_u32 {
            if round % 250 == 0 {
                alone = if rng.random_bool(0.5) { None } else { Some(rng.random_range(0..2)) };
            }
            let arriving = seed == 1 && round % 200 >= 130;
            let from = alone.unwrap_or_else(|| rng.random_range(0..2));
            if !arriving {
                let before = plain(&sides[from].session.cold);
                let message = sides[from].session.encrypt(&round.to_be_bytes()[..]).unwrap();
                assert!(before == plain(&sides[from].session.cold), "seed {seed}: sending leaves it alone");
                sides[from].store(&key);
                if seed == 1 || rng.random_bool(0.9) {
                    travelling[1 - from].push((round, message));
                }
            }
            let to = rng.random_range(0..2);
            let late = rng.random_bool(0.15) || travelling[to].len() > 60 || arriving;
            if travelling[to].is_empty() || !late && rng.random_bool(0.3) {
                continue;
            }
            let place =
                if late { rng.random_range(0..travelling[to].len()) } else { travelling[to].len() - 1 };
            let (number, message) = travelling[to].remove(place);
            let side = &mut sides[to];
            let (before, generation) = (plain(&side.session.cold), side.session.cold_generation());
            if let Ok(content) = side.session.decrypt(&message) {
                assert_eq!(content, number.to_be_bytes(), "seed {seed}");
                read += 1;
            }
            let after = plain(&side.session.cold);
            let says = side.session.cold_generation() != generation;
            if !side.session.cold.has_missing() {
                assert!(after == plain(&Cold::default()), "seed {seed}, round {round}: kept for nothing");
                emptied += usize::from(says);
            }
            assert_eq!(says, before != after, "seed {seed}, round {round}, message {number}");
            changed += usize::from(says);
            side.store(&key);
            if rng.next_u32() % 8 == 0 {
                // As after a crash: out of what was stored.
                let opened = Session::open_halves(&key, &side.hot, &side.cold).unwrap();
                assert!(plain(&opened.cold) == after, "seed {seed}, round {round}");
                side.session = opened;
            }
        }
        let epochs = sides[0].session.pq_epoch();
        assert!(
            changed > 100 && read > 900 && epochs > 3 && (seed == 0 || emptied > 5),
            "seed {seed}: {changed} changes, {read} read, {epochs} epochs, {emptied} times emptied"
        );
    }
}

//! What must be well in the end.

use subrosa::DeviceError;

use super::{Hint, PHONES, World};

/// Rounds until everybody must have heard everybody: enough for new sessions, for two requests, an hour apart, and
/// their answers; and for giving up what was asked for in vain before.
const CALM: usize = 16;

impl World {
    /// Nothing fails any more, and nothing is lost.
    pub(super) fn calm(mut self) {
        (0..PHONES).for_each(|of| self.town.phones[of].store.recover());
        for of in 0..PHONES {
            self.restart(of);
            self.acknowledge(of);
            self.push_all(of);
        }
        for round in 0..CALM {
            self.town.clock.advance(match round {
                // Long enough for a new session where two a day were begun.
                0..3 => 25 * 60 * 60,
                // What was asked for twice, and lost each time, counts as lost after a week.
                9 => 8 * 24 * 60 * 60,
                _ => 2 * 60 * 60,
            });
            let mut last = Vec::new();
            for of in 0..PHONES {
                self.maintain(of);
                self.poll_all(of);
                let to = self.user(of != 2);
                let said = self.say(of, &[to], 0);
                last.push(said);
                self.push_all(of);
            }
            (0..PHONES).for_each(|of| self.poll_all(of));
            if self.is_well(&last) {
                return self.check_nothing_left();
            }
            assert!(
                round + 1 < CALM,
                "not everybody is heard, or not all that is lost was reported: {last:?}"
            );
        }
    }

    fn push_all(&mut self, of: usize) {
        while self.town.phones[of].device.outbox().next().is_some() {
            self.push(of, 0, 0, 0);
        }
    }

    fn poll_all(&mut self, of: usize) {
        for bytes in self.town.server.take(&self.addresses[of]) {
            self.deliver(of, &bytes, Hint::None);
        }
        // What was asked for.
        self.push_all(of);
    }

    /// Whether all have heard what each has said last, and nothing is missing that was not reported.
    fn is_well(&self, last: &[Result<Vec<u8>, DeviceError>]) -> bool {
        let pairs = |from: usize| (0..PHONES).filter(move |to| *to != from);
        (0..PHONES).flat_map(|from| pairs(from).map(move |to| (from, to))).all(|(from, to)| {
            let Ok(text) = &last[from] else { return false };
            let pair = (self.addresses[from], self.addresses[to]);
            let received = self.received.get(&pair).map_or(&[][..], Vec::as_slice);
            let sent = self.sent.get(&pair);
            let missed = sent.map_or(0, |sent| sent.iter().filter(|text| !received.contains(text)).count());
            let excused = self.put_back.contains(&pair.0) || self.put_back.contains(&pair.1);
            let reported = self.reported.get(&pair).copied().unwrap_or_default() as usize;
            received.contains(text) && (excused || missed <= reported)
        })
    }

    fn check_nothing_left(mut self) {
        for of in 0..PHONES {
            let device = &mut self.town.phones[of].device;
            assert_eq!(device.inbox().count() + device.outbox().count(), 0);
            self.restart(of);
        }
    }
}

//! Numbered messages from one device to another: what was sent and not acknowledged, what is missing.
//!
//! The numbers say which messages never came; that one does not come twice is the session's work. A stream is
//! scoped by a random id, which changes when a device finds that its store was put back: else the numbers that it uses
//! a second time would pass for messages that have arrived.
//!
//! Not its concern: how a message is sent again.

use serde::{Deserialize, Serialize};

use super::content::{Body, Place, StreamId};
use crate::{
    SessionId, UnixTime,
    keys::{DAY, HOUR},
};

/// How many streams of one peer are followed: the current one, and those of before it lost its state.
const MAX_STREAMS: usize = 4;
/// How many missing messages of one stream are remembered; of a larger gap the older ones are given up at once.
pub(super) const MAX_MISSING: usize = 256;
/// How many that were given up, or came again, are remembered of one stream, the highest: so that they are new if they come
/// after all, or known.
const MAX_GIVEN_UP: usize = 256;
/// How often a missing message is asked for.
const MAX_ASKS: u8 = 2;
/// Seconds for which a missing message may simply be late.
const ASK_AFTER: u64 = 60;
/// Seconds between one asking and the next.
const ASK_AGAIN_AFTER: u64 = HOUR;
/// Seconds after which a missing message that was asked for counts as lost.
const GIVE_UP_AFTER: u64 = 7 * DAY;

/// What this device has sent to a peer's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sending {
    pub(super) stream: StreamId,
    /// The number of the next message.
    pub(super) next: u32,
    /// Everything below was acknowledged.
    pub(super) acknowledged: u32,
}

/// What an acknowledgement says about what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// These numbers, and no more.
    Numbers(core::ops::Range<u32>),
    /// More than was ever sent: this device's store was put back.
    Beyond,
    /// It is about another stream.
    Nothing,
}

impl Sending {
    pub(super) fn new(stream: StreamId) -> Self {
        Self { stream, next: 0, acknowledged: 0 }
    }

    /// The place of the next message; none after 2^32 - 1, when a new stream must begin.
    pub(super) fn advance(&mut self) -> Option<Place> {
        let place = Place { stream: self.stream, number: self.next };
        self.next = self.next.checked_add(1)?;
        Some(place)
    }

    pub(super) fn acknowledge(&mut self, ack: &Place) -> Acknowledged {
        if ack.stream != self.stream || ack.number <= self.acknowledged {
            return Acknowledged::Nothing;
        }
        if ack.number > self.next {
            return Acknowledged::Beyond;
        }
        let numbers = self.acknowledged..ack.number;
        self.acknowledged = ack.number;
        Acknowledged::Numbers(numbers)
    }
}

/// What a peer's device has sent to this one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Receiving {
    /// Last the one in which something came last.
    streams: Vec<Stream>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    id: StreamId,
    /// One more than the highest number received.
    next: u32,
    /// In which that one came.
    session: SessionId,
    /// Lowest first; those that were given up, or have come again, too.
    missing: Vec<Missing>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Missing {
    number: u32,
    since: UnixTime,
    /// How often; or [`GIVEN_UP`].
    asked: u8,
    last_asked: UnixTime,
    /// It has come, sent again, and was this body: the first one may still be under way.
    came: Option<[u8; 8]>,
}

/// It counts as lost: it is not asked for, and holds no acknowledgement back.
const GIVEN_UP: u8 = u8::MAX;

/// What a number says about a message that has authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next, or was missing, given up or not. So many others before it were given up.
    New { lost: u32 },
    /// A message with this number has arrived before.
    Again,
    /// It was late, was asked for, and has come: this is the other one of the two.
    Late,
}

impl Receiving {
    /// Notes that a message has arrived.
    pub(super) fn arrived(&mut self, body: &Body<'_>, session: &SessionId, now: UnixTime) -> Arrival {
        let place = &body.place;
        let stream = match self.streams.iter().position(|stream| stream.id == place.stream) {
            // What was asked for may be of an older one.
            Some(index) if body.resent => self.streams.get_mut(index),
            // It was asked for before this device was put back, say: so long ago that others may have taken its place.
            None if body.resent => return Arrival::New { lost: 0 },
            Some(index) => {
                let stream = self.streams.remove(index);
                self.streams.push(stream);
                self.streams.last_mut()
            }
            None => {
                let excess = (self.streams.len() + 1).saturating_sub(MAX_STREAMS);
                self.streams.drain(..excess);
                self.streams.push(Stream {
                    id: place.stream,
                    next: 0,
                    session: *session,
                    missing: Vec::new(),
                });
                self.streams.last_mut()
            }
        };
        stream.map_or(Arrival::Again, |stream| stream.arrived(body, session, now))
    }

    /// Whether the highest number of a stream came in this session.
    pub(super) fn went_on_in(&self, stream: StreamId, session: &SessionId) -> bool {
        self.streams.iter().any(|known| known.id == stream && known.session == *session)
    }

    /// The acknowledgement of the stream that the peer goes on with.
    pub(super) fn ack(&self) -> Option<Place> {
        self.streams.last().map(|stream| Place { stream: stream.id, number: stream.through() })
    }

    /// Up to `limit` messages to ask for now.
    pub(super) fn asks(&mut self, now: UnixTime, limit: usize) -> Vec<Place> {
        let missing = self.streams.iter_mut().rev().flat_map(|stream| {
            let id = stream.id;
            stream.missing.iter_mut().map(move |missing| (id, missing))
        });
        let due = missing.filter(|(_, missing)| missing.is_due(now)).take(limit);
        due.map(|(stream, missing)| {
            missing.asked += 1;
            missing.last_asked = now;
            Place { stream, number: missing.number }
        })
        .collect()
    }

    /// Gives up what the peer cannot send again; how many that are.
    pub(super) fn gone(&mut self, places: &[Place]) -> u32 {
        self.give_up(|stream, missing| places.contains(&Place { stream, number: missing.number }))
    }

    /// Gives up what was asked for in vain; how many that are.
    pub(super) fn give_up_late(&mut self, now: UnixTime) -> u32 {
        self.give_up(|_, missing| missing.is_lost(now))
    }

    /// How many messages are missing, and may still come.
    #[cfg(test)]
    pub(super) fn missing(&self) -> usize {
        self.streams.iter().map(Stream::count).sum()
    }

    fn give_up(&mut self, lost: impl Fn(StreamId, &Missing) -> bool) -> u32 {
        let mut count = 0;
        for stream in &mut self.streams {
            let id = stream.id;
            for missing in stream.missing.iter_mut().filter(|missing| missing.is_awaited()) {
                if lost(id, missing) {
                    missing.asked = GIVEN_UP;
                    count += 1;
                }
            }
            stream.forget();
        }
        count
    }
}

impl Stream {
    /// Everything below has been received or given up.
    fn through(&self) -> u32 {
        self.missing.iter().find(|missing| missing.is_awaited()).map_or(self.next, |missing| missing.number)
    }

    /// How many may still come.
    fn count(&self) -> usize {
        self.missing.iter().filter(|missing| missing.is_awaited()).count()
    }

    /// Forgets the lowest of those that are not awaited any more, if they are too many.
    fn forget(&mut self) {
        let mut excess = (self.missing.len() - self.count()).saturating_sub(MAX_GIVEN_UP);
        self.missing.retain(|missing| {
            let forgotten = excess > 0 && !missing.is_awaited();
            excess -= usize::from(forgotten);
            !forgotten
        });
    }

    fn arrived(&mut self, body: &Body<'_>, session: &SessionId, now: UnixTime) -> Arrival {
        let number = body.place.number;
        if number < self.next {
            let Some(missing) = self.missing.iter_mut().find(|missing| missing.number == number) else {
                return Arrival::Again;
            };
            let came = missing.came.replace(body.fingerprint());
            if body.resent {
                self.forget();
            } else {
                self.missing.retain(|missing| missing.number != number);
            }
            return match came {
                None => Arrival::New { lost: 0 },
                Some(came) if came == body.fingerprint() => Arrival::Late,
                // Another one, under the number that was used.
                Some(_) => Arrival::Again,
            };
        }
        let gap = number - self.next;
        let remembered = gap.min((MAX_MISSING + MAX_GIVEN_UP) as u32);
        self.missing.extend((number - remembered..number).map(|number| Missing {
            number,
            since: now,
            asked: 0,
            last_asked: now,
            came: None,
        }));
        let mut excess = self.count().saturating_sub(MAX_MISSING);
        let lost = (gap - remembered).saturating_add(excess as u32);
        for missing in self.missing.iter_mut().filter(|missing| missing.is_awaited()) {
            if excess == 0 {
                break;
            }
            missing.asked = GIVEN_UP;
            excess -= 1;
        }
        self.forget();
        (self.next, self.session) = (number.saturating_add(1), *session);
        Arrival::New { lost }
    }
}

impl Missing {
    fn is_awaited(&self) -> bool {
        self.asked != GIVEN_UP && self.came.is_none()
    }

    fn is_due(&self, now: UnixTime) -> bool {
        self.is_awaited()
            && match self.asked {
                0 => self.since.is_over(ASK_AFTER, now),
                asked if asked < MAX_ASKS => self.last_asked.is_over(ASK_AGAIN_AFTER, now),
                _ => false,
            }
    }

    fn is_lost(&self, now: UnixTime) -> bool {
        self.since.is_over(GIVE_UP_AFTER, now)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{MessageId, content::Meaning},
        *,
    };

    const STREAM: StreamId = StreamId([1; 8]);

    fn at(number: u32) -> Place {
        Place { stream: STREAM, number }
    }

    fn session(number: u8) -> SessionId {
        postcard::from_bytes(&[number; 32]).unwrap()
    }

    fn body(place: Place, resent: bool) -> Body<'static> {
        let id = MessageId::from_bytes([1; 16]);
        Body { place, id, resent, kind: Meaning::MESSAGE, bytes: b"" }
    }

    fn time(seconds: u64) -> UnixTime {
        UnixTime::from_secs(1_000_000 + seconds)
    }

    fn arrived(receiving: &mut Receiving, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            assert_eq!(
                receiving.arrived(&body(at(number), false), &session(7), time(0)),
                Arrival::New { lost: 0 }
            );
        }
    }

    #[test]
    fn gaps_are_filled_and_acknowledged() {
        let mut receiving = Receiving::default();
        assert_eq!(receiving.ack(), None);
        arrived(&mut receiving, [0, 1, 4]);
        assert_eq!((receiving.ack(), receiving.missing()), (Some(at(2)), 2));
        assert_eq!(receiving.arrived(&body(at(1), false), &session(7), time(0)), Arrival::Again);
        arrived(&mut receiving, [3]);
        assert_eq!(receiving.ack(), Some(at(2)));
        arrived(&mut receiving, [2]);
        assert_eq!((receiving.ack(), receiving.missing()), (Some(at(5)), 0));
    }

    #[test]
    fn a31_asks_twice_and_then_gives_up() {
        let mut receiving = Receiving::default();
        arrived(&mut receiving, [0, 3]);
        assert_eq!(receiving.asks(time(59), 9), []);
        assert_eq!(receiving.asks(time(60), 1), [at(1)]);
        assert_eq!(receiving.asks(time(61), 9), [at(2)]);
        assert_eq!(receiving.asks(time(3_600), 9), []);
        assert_eq!(receiving.asks(time(4_000), 9), [at(1), at(2)]);
        assert_eq!(receiving.asks(time(600_000), 9), []);
        assert_eq!(receiving.give_up_late(time(604_799)), 0);
        assert_eq!(receiving.give_up_late(time(604_800)), 2);
        assert_eq!(receiving.ack(), Some(at(4)));
        assert_eq!(
            (receiving.give_up_late(time(1_000_000)), receiving.asks(time(1_000_000), 9)),
            (0, vec![])
        );
    }

    #[test]
    fn what_was_given_up_is_new_once_when_it_comes() {
        let mut receiving = Receiving::default();
        arrived(&mut receiving, [0, 4]);
        assert_eq!((receiving.give_up_late(time(604_800)), receiving.missing()), (3, 0));
        arrived(&mut receiving, [2]);
        assert_eq!(receiving.arrived(&body(at(2), false), &session(7), time(0)), Arrival::Again);
        assert_eq!(receiving.ack(), Some(at(5)));
        // Of a gap that is too large at once, and of what the sender cannot send again, as well.
        let far = receiving.arrived(&body(at(505), false), &session(7), time(0));
        assert_eq!((far, receiving.missing()), (Arrival::New { lost: 500 - 256 }, 256));
        assert_eq!(receiving.gone(&[at(504)]), 1);
        arrived(&mut receiving, [5, 248, 249, 504]);
        // No more than 256 are remembered, the lowest are not.
        assert_eq!(
            receiving.arrived(&body(at(1_506), false), &session(7), time(0)),
            Arrival::New { lost: 1_000 - 256 + 254 }
        );
        assert_eq!(receiving.arrived(&body(at(993), false), &session(7), time(0)), Arrival::Again);
        arrived(&mut receiving, [994, 1_249, 1_250]);
        assert_eq!(receiving.streams[0].missing.len(), 256 + 256 - 3);
    }

    #[test]
    fn what_came_again_is_known_when_the_first_one_comes() {
        let mut receiving = Receiving::default();
        arrived(&mut receiving, [0, 4]);
        assert_eq!(receiving.arrived(&body(at(2), true), &session(7), time(0)), Arrival::New { lost: 0 });
        assert_eq!(receiving.arrived(&body(at(2), true), &session(7), time(0)), Arrival::Late);
        assert_eq!((receiving.missing(), receiving.ack()), (2, Some(at(1))));
        assert_eq!(receiving.asks(time(60), 9), [at(1), at(3)]);
        assert_eq!((receiving.gone(&[at(2)]), receiving.give_up_late(time(604_800))), (0, 2));
        assert_eq!(receiving.arrived(&body(at(2), false), &session(7), time(0)), Arrival::Late);
        // Once more it is a number that was used twice.
        assert_eq!(receiving.arrived(&body(at(2), false), &session(7), time(0)), Arrival::Again);
    }

    /// What was asked for long ago comes of a stream that is not followed: it moves no acknowledgement, and takes nobody's place.
    #[test]
    fn what_is_resent_of_an_unknown_stream_is_new_and_no_more() {
        let mut receiving = Receiving::default();
        let of = |stream, number| Place { stream: StreamId([stream; 8]), number };
        for stream in 1..=4 {
            receiving.arrived(&body(of(stream, 0), false), &session(7), time(0));
        }
        for _ in 0..2 {
            assert_eq!(
                receiving.arrived(&body(of(9, 3), true), &session(7), time(0)),
                Arrival::New { lost: 0 }
            );
            assert_eq!((receiving.ack(), receiving.missing()), (Some(of(4, 1)), 0));
        }
        for stream in 1..=4 {
            assert_eq!(receiving.arrived(&body(of(stream, 0), false), &session(7), time(0)), Arrival::Again);
        }
    }

    #[test]
    fn where_a_stream_went_on_is_known() {
        let mut receiving = Receiving::default();
        assert!(!receiving.went_on_in(STREAM, &session(1)));
        // What is late, or used twice, does not count.
        for (number, came_in, expected) in [(3, 1, 1), (2, 2, 1), (3, 2, 1), (4, 2, 2), (0, 1, 2)] {
            receiving.arrived(&body(at(number), false), &session(came_in), time(0));
            assert!(receiving.went_on_in(STREAM, &session(expected)), "{number}");
            assert!(!receiving.went_on_in(STREAM, &session(3 - expected)), "{number}");
        }
        assert!(!receiving.went_on_in(StreamId([2; 8]), &session(2)));
    }

    /// Under a number that came resent its sender, put back, sends another text.
    #[test]
    fn another_body_under_a_number_that_came_resent_is_no_late_one() {
        let mut receiving = Receiving::default();
        arrived(&mut receiving, [0, 2]);
        assert_eq!(receiving.arrived(&body(at(1), true), &session(7), time(0)), Arrival::New { lost: 0 });
        let other = Body { id: MessageId::from_bytes([2; 16]), ..body(at(1), false) };
        assert_eq!(receiving.arrived(&other, &session(7), time(0)), Arrival::Again);
    }

    /// A device that was put back twice to the same state goes on in the stream of before.
    #[test]
    fn the_stream_that_goes_on_is_acknowledged() {
        let mut receiving = Receiving::default();
        let other = |number| Place { stream: StreamId([2; 8]), number };
        arrived(&mut receiving, [0, 2]);
        receiving.arrived(&body(other(0), false), &session(7), time(0));
        assert_eq!(receiving.ack(), Some(other(1)));
        receiving.arrived(&body(at(1), true), &session(7), time(0));
        assert_eq!(receiving.ack(), Some(other(1)), "by what was asked for it does not change");
        arrived(&mut receiving, [3]);
        assert_eq!(receiving.ack(), Some(at(4)));
    }

    #[test]
    fn what_is_gone_is_given_up() {
        let mut receiving = Receiving::default();
        arrived(&mut receiving, [0, 3]);
        assert_eq!(receiving.gone(&[at(1), at(7), Place { stream: StreamId([2; 8]), number: 2 }]), 1);
        assert_eq!(receiving.ack(), Some(at(2)));
    }

    #[test]
    fn a10_gaps_and_streams_are_bounded() {
        let mut receiving = Receiving::default();
        let far = receiving.arrived(&body(at(1_000), false), &session(7), time(0));
        assert_eq!(far, Arrival::New { lost: 1_000 - 256 });
        assert_eq!(
            receiving.arrived(&body(at(1_011), false), &session(7), time(0)),
            Arrival::New { lost: 10 }
        );
        assert_eq!(receiving.missing(), 256);
        assert_eq!(
            receiving.arrived(&body(at(u32::MAX), false), &session(7), time(0)),
            Arrival::New { lost: u32::MAX - 1_012 }
        );
        for stream in 2..9 {
            receiving.arrived(
                &body(Place { stream: StreamId([stream; 8]), number: 300 }, false),
                &session(7),
                time(0),
            );
        }
        assert_eq!(receiving.streams.len(), MAX_STREAMS);
        assert_eq!(receiving.missing(), MAX_STREAMS * MAX_MISSING);
        assert!(receiving.streams.iter().all(|stream| stream.missing.len() <= MAX_MISSING + MAX_GIVEN_UP));
    }

    #[test]
    fn acknowledgements_erase_once_and_show_a_rollback() {
        let mut sending = Sending::new(STREAM);
        assert_eq!(sending.advance(), Some(at(0)));
        assert_eq!(sending.advance(), Some(at(1)));
        assert_eq!(sending.acknowledge(&at(1)), Acknowledged::Numbers(0..1));
        assert_eq!(sending.acknowledge(&at(1)), Acknowledged::Nothing);
        assert_eq!(sending.acknowledge(&at(2)), Acknowledged::Numbers(1..2));
        assert_eq!(sending.acknowledge(&at(3)), Acknowledged::Beyond);
        let other = Place { stream: StreamId([2; 8]), number: 9 };
        assert_eq!(sending.acknowledge(&other), Acknowledged::Nothing);
        sending.next = u32::MAX;
        assert_eq!(sending.advance(), None);
    }
}

//! Points in time, passed in by the caller: the core has no clock.

use serde::{Deserialize, Serialize};

/// In seconds.
#[cfg(feature = "std")]
pub(crate) const HOUR: u64 = 3_600;
/// In seconds.
pub(crate) const DAY: u64 = 86_400;

/// How far two clocks may be apart, in days, before one refuses what the other has made as valid for too long. Clocks that are
/// set by hand are some hours off, with a time zone or a day mistaken, seldom more; and what was stolen lasts longer by no more.
const CLOCK_TOLERANCE_DAYS: u64 = 7;

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time that many seconds after the epoch. (JavaScript's `Date.now()` is in milliseconds.)
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// What the system's clock says; the epoch if it says something earlier.
    ///
    /// Not on `wasm32-unknown-unknown`, which has no clock: use [`Self::from_secs`].
    #[cfg(all(feature = "std", not(all(target_family = "wasm", target_os = "unknown"))))]
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |duration| duration.as_secs()))
    }

    /// Whether so many seconds have passed since then. What lies more than a day ahead was noted under a clock that was
    /// wrong, and would not be over for as long as that was ahead: it is over.
    #[cfg(feature = "std")]
    pub(crate) const fn is_over(self, seconds: u64, now: Self) -> bool {
        now.0 >= self.0.saturating_add(seconds) || self.0 > now.0.saturating_add(DAY)
    }

    /// What lies more than a day ahead was noted under a clock that was wrong: it counts as now.
    #[cfg(feature = "std")]
    pub(crate) fn not_far_ahead(self, now: Self) -> Self {
        if self > now.plus_days(1) { now } else { self }
    }

    /// Whether this is the end of something that is said to be made by now, and to last for so many days, and lies beyond that:
    /// it was made under a clock that was ahead, and would last for as long as that was. Or this one is behind.
    pub(crate) fn is_beyond(self, days: u64, now: Self) -> bool {
        self > now.plus_days(days + CLOCK_TOLERANCE_DAYS)
    }

    #[cfg(feature = "std")]
    pub(crate) const fn next_second(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) const fn plus_days(self, days: u64) -> Self {
        Self(self.0.saturating_add(days * DAY))
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn counts_to_the_second() {
        let now = UnixTime::from_secs(1_000_000_000);
        let after = |seconds| UnixTime::from_secs(now.as_secs() + seconds);
        assert_eq!(now.plus_days(3), after(3 * DAY));
        assert_eq!(now.next_second(), after(1));
        assert!(!now.is_over(10, after(9)) && now.is_over(10, after(10)) && now.is_over(0, now));
        assert!(!after(8 * DAY).is_beyond(1, now) && after(8 * DAY + 1).is_beyond(1, now));
    }

    #[test]
    fn a_day_ahead_is_not_believed() {
        let now = UnixTime::from_secs(1_000_000_000);
        let ahead = |seconds| UnixTime::from_secs(now.as_secs() + seconds);
        assert_eq!(ahead(DAY).not_far_ahead(now), ahead(DAY));
        assert_eq!(ahead(DAY + 1).not_far_ahead(now), now);
        assert_eq!(UnixTime::from_secs(7).not_far_ahead(now), UnixTime::from_secs(7));
        assert!(!ahead(DAY).is_over(10, now) && ahead(DAY + 1).is_over(10, now));
    }

    #[test]
    fn does_not_wrap() {
        let last = UnixTime::from_secs(u64::MAX);
        assert_eq!((last.next_second(), last.plus_days(1)), (last, last));
        assert!(!last.is_over(1, UnixTime::from_secs(u64::MAX - 1)));
    }
}

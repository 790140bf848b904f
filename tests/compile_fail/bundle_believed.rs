//! That a bundle was verified is nothing to be read in from outside.

use subrosa::{UnixTime, VerifiedBundle};

fn cached(json: &str, now: UnixTime) -> Option<VerifiedBundle> {
    let _ = now;
    #[cfg(test)]
    return serde_json::from_str::<subrosa::PreKeyBundle>(json).ok()?.verify(now).ok();
    #[cfg(not(test))]
    return serde_json::from_str::<VerifiedBundle>(json).ok();
}

fn main() {}

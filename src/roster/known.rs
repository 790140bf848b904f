//! What to remember of a device list, and how another one relates to it.

use serde::{Deserialize, Serialize};

/// Version and hash: what it takes to tell whether a list is the one that is known, or follows it, or contradicts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownList {
    pub(crate) version: u32,
    pub(crate) hash: [u8; 32],
}

/// How a list relates to the one that is known of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// It is the known one.
    Same,
    /// It replaces the known one. If it is more than one version ahead, whether it descends from the known one cannot be
    /// seen.
    Newer,
    /// It was replaced long ago. Whether the known one descends from it cannot be seen.
    Older,
    /// Two lists where there can be one: the root key signs for two parties, or was put back to an earlier state.
    Forked,
}

//! Who answered that the pictures differ does not answer again.

use subrosa::{SasCode, UserId};

fn ask(code: SasCode, answers: [bool; 2]) -> Option<UserId> {
    let peer = code.confirm(answers[0]);
    #[cfg(not(test))]
    let peer = peer.or_else(|| code.confirm(answers[1]));
    peer
}

fn main() {}

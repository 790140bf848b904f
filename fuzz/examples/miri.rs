//! What Miri is run on: the functions of `tests/miri.rs`. The command is in CONTRIBUTING.md.

#[path = "../../tests/miri.rs"]
mod miri;

fn main() {
    miri::an_attachment();
    println!("an attachment: ok");
    miri::a_conversation();
    println!("a conversation: ok");
}

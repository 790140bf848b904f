//! Alice writes to Bob, who is offline; Bob answers; both could switch off and go on tomorrow.
//!
//! `cargo run --example quickstart`
#![allow(clippy::print_stdout, reason = "an example that shows its results")]

use subrosa::{Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};

fn main() -> Result<(), Error> {
    // An identity is made once per device. Its public half is who you are: people compare its text.
    let alice = IdentityKeyPair::generate();
    let bob = IdentityKeyPair::generate();
    println!("Alice is {}", alice.identity_key());
    println!("Bob is   {}", bob.identity_key());

    // Bob leaves prekeys where others can fetch them: a server, a file, a QR code. They are public.
    let now = UnixTime::now();
    let mut bob_prekeys = PreKeys::generate(&bob, 100, now);
    let published = bob_prekeys.bundle().to_bytes();
    println!("Bob publishes a bundle of {} bytes", published.len());

    // Alice fetches the bundle. Nothing can be done with it until its signatures and its date are checked;
    // and whether this is the Bob that she means, only comparing his identity can tell.
    let bundle = PreKeyBundle::from_bytes(&published)?.verify(now)?;
    assert_eq!(bundle.identity_key(), bob.identity_key());

    // From here on: one session on each side, and messages that are bytes for any transport.
    let mut alice_session = Session::initiate(&alice, bundle)?;
    let first = alice_session.encrypt(b"Hello Bob!")?;
    println!("Alice sends {} bytes, the first message, which carries the handshake", first.len());

    // The first message makes Bob's session. It says who wrote it, and uses up a one-time prekey.
    let (mut bob_session, text) = Session::accept(&bob, &mut bob_prekeys, &first)?;
    assert_eq!(bob_session.peer_identity(), alice.identity_key());
    println!("Bob reads {:?}", String::from_utf8_lossy(&text));

    let reply = bob_session.encrypt(b"Hi Alice!")?;
    println!("Bob replies with {} bytes", reply.len());
    println!("Alice reads {:?}", String::from_utf8_lossy(&alice_session.decrypt(&reply)?));

    // Everything secret leaves memory only sealed. Save a session whenever it changed: after `encrypt` in
    // one step with the message, before that leaves; after `accept` and `decrypt` with the text (and the prekeys).
    let key = StorageKey::generate(); // 32 bytes for the platform's keychain
    let stored = bob_session.seal(&key);
    drop(bob_session);
    println!("Bob stores {} bytes and goes to sleep", stored.len());

    let mut bob_session = Session::open(&key, &stored)?;
    let second = alice_session.encrypt(b"Good morning!")?;
    println!("Alice sends {} bytes", second.len());
    println!("Bob, awake again, reads {:?}", String::from_utf8_lossy(&bob_session.decrypt(&second)?));
    Ok(())
}

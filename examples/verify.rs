//! How two people make sure that nobody is in between: `cargo run --example verify`.
//!
//! A server introduces Alice's and Bob's devices to each other. It could have given each of them a key of its own, and read
//! along. What they compare here tells, because they compare it where the server has no say:
//!
//! 1. *side by side*: Alice's phone scans a code on Bob's screen;
//! 2. *at any distance*: they read sixty digits to each other over a channel on which they know each other's voice;
//! 3. *on a call*: both see the same seven pictures.
//!
//! To scan the code of somebody's screen with a real camera:
//!
//! ```text
//! cargo run --example verify -- show MY-USER-ID PEER-USER-ID          prints the number and the code
//! cargo run --example verify -- scan MY-USER-ID PEER-USER-ID TEXT     judges what a scanner has read
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what happens")]

use std::{env, process::ExitCode};

use qrcode::{QrCode, render::unicode::Dense1x2};
use subrosa::{
    Device, Error, SafetyNumber, SasCode, SasInitiator, SasResponder, SasStep, Scan, StorageKey, Trust,
    UserId, store::MemoryStore,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => story().map(|()| ExitCode::SUCCESS),
        ["show", me, peer] => {
            show(&SafetyNumber::new(&me.parse()?, &peer.parse()?)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["scan", me, peer, text] => {
            let scan = SafetyNumber::new(&me.parse()?, &peer.parse()?)?.verify_scanned(text.trim())?;
            println!("{}", meaning(scan));
            Ok(if matches!(scan, Scan::Match(_)) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err("verify [show ME PEER | scan ME PEER TEXT]".into()),
    }
}

fn story() -> Result<()> {
    // An app opens a store on disk, with a key out of the platform's keychain.
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(Device::create(MemoryStore::new(), &StorageKey::generate())?);
    }
    let users: Vec<UserId> = phones.iter().map(Device::user).collect();
    let [alice, bob, mallory] = users[..] else { return Err("three users".into()) };
    let alices = phones.first_mut().ok_or("three phones")?;

    println!("Bob opens his chat with Alice, and this is on his screen:\n");
    let bobs_number = SafetyNumber::new(&bob, &alice)?;
    show(&bobs_number)?;

    println!("Alice opens her chat with Bob, and scans it.");
    let number = SafetyNumber::new(&alice, &bob)?;
    // What her camera has read. `scannable_text` it is, not the bytes: scanners return text.
    let scanned = bobs_number.scannable_text();
    let scan = number.verify_scanned(&scanned)?;
    println!("  {}", meaning(scan));
    if let Scan::Match(user) = scan {
        // Nothing else but a match names a user to be trusted. Her other devices get to know it by what this returns.
        alices.set_trust(&user, Trust::Verified)?;
    }
    let trust = alices.user_info(&bob)?.ok_or("unknown")?.trust;
    println!("  Bob is {trust:?} from now on. Instead they could have compared the digits.\n");

    println!("Other codes, and what her phone would say:");
    let of = |by: &UserId, to: &UserId| SafetyNumber::new(by, to).map(|number| number.scannable_text());
    for (what, code) in [
        ("Mallory is in between: she had given Alice a key of hers", of(&mallory, &alice)?),
        ("Bob has his chat with Mallory open", of(&bob, &mallory)?),
        ("her own screen", of(&alice, &bob)?),
    ] {
        println!("  {what}: {}", meaning(number.verify_scanned(code)?));
    }
    println!(
        "  the label of a bottle: {}\n",
        number.verify_scanned("4006381333931").err().map_or("?".into(), say)
    );

    println!("On a call, Alice presses \"compare\". Three messages pass, and then both see:");
    let (alices_code, bobs_code) = on_a_call(&alice, &bob)?;
    print_code("Alice", &alices_code);
    print_code("Bob", &bobs_code);
    // The app asks, and says what its user has answered. `true` is theirs to say, never the app's.
    let same = alices_code.emoji() == bobs_code.emoji(); // two people, reading the names aloud
    match alices_code.confirm(same) {
        Some(user) => drop(alices.set_trust(&user, Trust::Verified)?),
        None => println!("  They warn each other by other means."),
    }

    println!("\nThe same with Mallory in between. She is Bob to Alice, and Alice to Bob:");
    let (alices_code, _) = on_a_call(&alice, &mallory)?;
    let (_, bobs_code) = on_a_call(&mallory, &bob)?;
    print_code("Alice", &alices_code);
    print_code("Bob", &bobs_code);
    let same = alices_code.emoji() == bobs_code.emoji();
    println!("  Verified: {:?}. She had a chance of 1 in {}.", alices_code.confirm(same), 1u64 << 42);
    Ok(())
}

/// The number in groups, and the code to be scanned.
fn show(number: &SafetyNumber) -> Result<()> {
    let digits = number.to_string();
    for row in digits.split(' ').collect::<Vec<_>>().chunks(4) {
        println!("    {}", row.join("  "));
    }
    let text = number.scannable_text();
    // Upper-case letters and digits: the QR code chooses its alphanumeric mode by itself.
    let code = QrCode::new(&text)?;
    // On a dark terminal: what is light in the code is drawn.
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    println!("{picture}\n{text}\n");
    Ok(())
}

fn meaning(scan: Scan) -> String {
    match scan {
        Scan::Match(user) => format!("match, this is {user}"),
        Scan::Mismatch => "MISMATCH, whoever shows this has another key than the one you write to".into(),
        Scan::WrongPair => {
            "wrong pair, open your chat with each other on both phones; beware if it stays so".into()
        }
        Scan::OtherVersion => "other version, one of you has to update the app".into(),
    }
}

fn say(error: Error) -> String {
    format!("no code at all ({error})")
}

/// Initiator and responder, each on a device of its own; the messages travel as content of messages, or any other way.
fn on_a_call(initiator: &UserId, responder: &UserId) -> Result<(SasCode, SasCode)> {
    // Each state is used up by its step. An app keeps it, in memory, until the other side's message is there.
    let (waiting, commitment) = SasInitiator::begin(initiator, responder)?;
    let (answered, answer) = SasResponder::answer(responder, initiator, &commitment)?;
    // What has come in says which step it is for.
    assert_eq!(SasStep::of(&answer)?, SasStep::Answer);
    let (initiators, reveal) = waiting.receive(&answer)?;
    Ok((initiators, answered.receive(&reveal)?))
}

fn print_code(who: &str, code: &SasCode) {
    let pictures = code.emoji().map(|emoji| format!("{} {}", emoji.symbol(), emoji.name()));
    println!("  {who:<6} {}   or {:?}", pictures.join("  "), code.numbers());
}

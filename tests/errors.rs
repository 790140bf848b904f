//! Errors and events: what to do on each is written down, and each is met by a test.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The documentation of an enum, and the names of its variants.
fn parse<'a>(source: &'a str, name: &str) -> (&'a str, Vec<&'a str>) {
    let (before, rest) = source.split_once(&format!("\npub enum {name} {{\n")).unwrap();
    let documentation = before.rsplit("\n\n").next().unwrap();
    let body = rest.split("\n}\n").next().unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let end = |line: &'a str| line.split(|c: char| !c.is_alphanumeric()).next().unwrap();
    (documentation, variants.map(end).collect())
}

#[test]
fn what_to_do_is_said_of_every_error() {
    for (path, name, count) in [("src/error.rs", "Error", 20), ("src/device/error.rs", "DeviceError", 20)] {
        let source = read(path);
        let (documentation, variants) = parse(&source, name);
        assert!(variants.len() >= count, "{variants:?}");
        // In the first column of a row, with something in one behind it.
        let rows = documentation.lines().filter_map(|line| line.strip_prefix("/// | "));
        let said: BTreeSet<_> = rows
            .filter(|row| row.split(" | ").skip(1).any(|cell| cell.trim_matches(['|', ' ']).len() > 3))
            .flat_map(|row| row.split(" | ").next().unwrap().split("(Self::").skip(1))
            .map(|link| link.split(')').next().unwrap())
            .collect();
        assert_eq!(said, variants.into_iter().collect(), "the table of {name}");
    }
}

fn sources(directory: PathBuf, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source of all tests: `tests`, modules that are compiled for tests, and the ends of others.
fn tests() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut modules) = (Vec::new(), Vec::new());
    sources(root.join("tests"), &mut files);
    files.retain(|file| !file.ends_with("errors.rs"));
    let mut text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    sources(root.join("src"), &mut modules);
    for file in &modules {
        let source = fs::read_to_string(file).unwrap();
        for declared in source.split("\n#[cfg(").skip(1) {
            let (condition, rest) = declared.split_once(")]\n").unwrap();
            let rest = rest.strip_prefix("pub(crate) ").unwrap_or(rest);
            match rest.strip_prefix("mod ").and_then(|rest| rest.split_once([';', ' '])) {
                Some((name, _)) if condition.contains("test") && rest.contains(&format!("mod {name};")) => {
                    let stem = file.with_extension("");
                    text += &fs::read_to_string(stem.join(name).with_extension("rs")).unwrap_or_default();
                    sources_of(&stem.join(name), &mut text);
                }
                Some(_) if condition.contains("test") => text += rest,
                _ => {}
            }
        }
    }
    text
}

fn sources_of(directory: &Path, text: &mut String) {
    let mut files = Vec::new();
    if directory.is_dir() {
        sources(directory.to_owned(), &mut files);
    }
    files.iter().for_each(|file| text.push_str(&fs::read_to_string(file).unwrap()));
}

/// What no test can bring about: it takes a system without randomness or memory.
const NOT_TESTED: &[&str] = &[
    "DeviceError::OutOfMemory",
    "DeviceError::NoRandomness",
    "UnlockError::OutOfMemory",
    "UnlockError::NoRandomness",
];

#[test]
fn every_error_and_event_is_met_by_a_test() {
    let tests = tests();
    let mut missing = BTreeSet::new();
    for (path, name) in [
        ("src/error.rs", "Error"),
        ("src/device/error.rs", "DeviceError"),
        ("src/device/error.rs", "Refusal"),
        ("src/device/event.rs", "Event"),
        ("src/attachment/error.rs", "AttachmentError"),
        ("src/store.rs", "StoreError"),
        ("src/store/passphrase.rs", "UnlockError"),
    ] {
        let source = read(path);
        for variant in parse(&source, name).1 {
            let full = format!("{name}::{variant}");
            let met = tests.split(&full).skip(1).any(|behind| !behind.starts_with(char::is_alphanumeric));
            if !met {
                missing.insert(full);
            }
        }
    }
    assert_eq!(missing, NOT_TESTED.iter().map(|name| (*name).to_owned()).collect());
}

/// What is printed of a store's error is of that error alone, and what caused it comes next.
#[cfg(feature = "std")]
#[test]
fn errors_say_what_they_are_and_why() {
    use std::{error::Error as _, io};

    use subrosa::store::{StoreError as S, UnlockError as U};

    let other = || S::Other(Box::new(io::Error::other("the disk is on fire")));
    let stores = || [S::Conflict, S::Busy, S::Full, S::ReadOnly, S::Damaged, S::UnsupportedVersion, other()];
    let unlocking = [
        U::WrongPassphrase,
        U::Damaged,
        U::UnsupportedVersion,
        U::OutOfMemory,
        U::NoRandomness,
        U::Store(other()),
    ];
    let all_of = |texts: Vec<String>| {
        assert!(texts.iter().all(|text| text.len() > 4), "{texts:?}");
        let distinct: BTreeSet<&String> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len(), "{texts:?}");
    };
    all_of(stores().iter().map(S::to_string).collect());
    all_of(unlocking.iter().map(U::to_string).collect());

    let fire = |error: &dyn std::error::Error| {
        error.source().is_some_and(|source| source.to_string().contains("fire"))
    };
    assert!(fire(&other()) && fire(&U::Store(other())));
    assert!(S::Full.source().is_none() && U::Damaged.source().is_none());
    assert!(other().to_string().contains("fire"));
}

/// The same of the errors of sessions, all of them.
#[test]
fn errors_of_sessions_say_what_they_are() {
    use subrosa::Error as E;
    let errors = [
        E::Malformed,
        E::UnsupportedVersion,
        E::InvalidKey,
        E::Unauthentic,
        E::InvalidSignature,
        E::Duplicate,
        E::TooOld,
        E::TooFarAhead,
        E::UnknownSession,
        E::UnknownPreKey,
        E::Replayed,
        E::ReplayRecordFull,
        E::PeerRolledBack,
        E::Expired,
        E::NotYetValid,
        E::ContentTooLong,
        E::PayloadTooLong,
        E::TooManyDevices,
        E::WrongIdentity,
        E::SameUser,
        E::CounterExhausted,
        E::NoRandomness,
        E::SealBroken,
    ];
    let source = read("src/error.rs");
    let names: BTreeSet<_> = errors.iter().map(|error| format!("{error:?}")).collect();
    assert_eq!(names, parse(&source, "Error").1.into_iter().map(str::to_owned).collect());
    let texts: BTreeSet<_> = errors.iter().map(E::to_string).collect();
    assert_eq!(texts.len(), errors.len(), "{texts:?}");
    assert!(texts.iter().all(|text| text.len() > 8 && !text.ends_with('.')), "{texts:?}");
}

/// What is printed of an event begins with its name, and shows who it is about, but nothing of a message.
#[cfg(feature = "std")]
#[test]
fn a26_events_are_printed_without_content() {
    use subrosa::{DeviceId, Event as E, MessageId, Refusal, Trust, UserId};
    // The base point of Ed25519.
    let mut key = [0x66; UserId::LEN];
    key[0] = 0x58;
    let (of, device) = (UserId::from_bytes(&key).unwrap(), DeviceId::from_bytes([0xcd; 16]));
    let (id, content) = (MessageId::from_bytes([0xab; 16]), b"a secret".to_vec());
    let shown = |event: &E| match event {
        E::Message { .. } => vec![id.to_string(), "8 bytes".into(), "resent: true".into()],
        E::SentElsewhere { .. } => vec![id.to_string(), of.to_string(), "8 bytes".into()],
        E::DevicesChanged { .. } => vec![of.to_string(), device.to_string()],
        E::ListRefused(_) => vec!["Forked".into()],
        E::NewerList { .. } => vec![of.to_string()],
        E::TrustChanged { .. } => vec![of.to_string(), "Blocked".into()],
        E::Lost(_) => vec!["77".into()],
        _ => vec![],
    };
    let events = [
        E::Message { id, content: content.clone(), attachments: vec![], resent: true },
        E::SentElsewhere { id, to: of, content, attachments: vec![] },
        E::NewUser,
        E::DevicesChanged { of, added: vec![device], removed: vec![], unacknowledged: vec![] },
        E::ListRefused(Refusal::Forked),
        E::NewerList { of },
        E::NoOneTimePreKey,
        E::PeerRolledBack,
        E::RolledBack,
        E::Lost(77),
        E::TrustChanged { of, trust: Trust::Blocked },
        E::Unlinked,
        E::NotUnderstood,
    ];
    let source = read("src/device/event.rs");
    let mut names = BTreeSet::new();
    for event in &events {
        let text = format!("{event:?}");
        assert!(shown(event).iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("secret") && !text.contains("97, 32"), "{text}");
        names.insert(text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
    }
    assert_eq!(names, parse(&source, "Event").1.into_iter().map(str::to_owned).collect());
}

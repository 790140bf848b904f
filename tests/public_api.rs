//! The public API is what `docs/public-api.txt` says: nothing gets in, or out, by mistake.
//!
//! The list is made from rustdoc's JSON of the declared version of Rust, default features: no other one adds to it. It
//! leaves out what holds for every type (blanket implementations), and `Send` and the like, which `tests/api.rs` holds.
//! To write it anew: `SUBROSA_WRITE_PUBLIC_API=1 cargo +1.94 test --test public_api`; then say in CHANGELOG what changed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics is a test that fails")]

use std::{collections::BTreeSet, env, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

#[allow(unreachable_pub, reason = "shared")]
#[path = "common/compiler.rs"]
mod compiler;

const LIST: &str = include_str!("../docs/public-api.txt");

/// rustdoc writes JSON where unstable options are allowed. They are allowed to it alone: dependencies that ask the
/// compiler what it can do would be compiled anew.
const RUSTDOC: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

#[test]
fn the_public_api_is_as_listed() {
    if !compiler::is_declared("public_api") {
        return;
    }
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (target, rustdoc) = (temporary.parent().unwrap(), temporary.join("rustdoc-unstable"));
    fs::write(&rustdoc, RUSTDOC).unwrap();
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustdoc", "--quiet", "--offline", "--lib", "--target-dir"]).arg(target);
    cargo.args(["--", "-Z", "unstable-options", "--output-format", "json"]).env("RUSTDOC", rustdoc);
    assert!(cargo.status().unwrap().success());

    let api = public_api::Builder::from_rustdoc_json(target.join("doc/subrosa.json"));
    let api = api.omit_blanket_impls(true).omit_auto_trait_impls(true).build().unwrap();
    let list = api.to_string();
    if env::var_os("SUBROSA_WRITE_PUBLIC_API").is_some() {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/public-api.txt"), list).unwrap();
        return;
    }
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (LIST.lines().collect(), list.lines().collect());
    assert_eq!(old.difference(&new).collect::<Vec<_>>(), [] as [&&str; 0], "is gone");
    assert_eq!(new.difference(&old).collect::<Vec<_>>(), [] as [&&str; 0], "is new");
    assert!(list == LIST, "the same lines in another order");
}

/// Of other crates there are these traits, and no type, which would change when its crate does.
#[test]
fn no_type_of_another_crate_is_public() {
    const TRAITS: [&str; 6] = [
        "rand_core::CryptoRng",
        "rand_core::TryCryptoRng",
        "serde_core::de::Deserialize",
        "serde_core::de::Deserializer",
        "serde_core::ser::Serialize",
        "serde_core::ser::Serializer",
    ];
    let paths = LIST.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let of_others: BTreeSet<_> = paths
        .filter_map(|path| Some((path.split_once("::")?.0, path)))
        // `<D as Trait>::Error` leaves `::Error`; generic parameters are upper case.
        .filter(|(name, _)| name.starts_with(|c: char| c.is_lowercase()))
        .filter(|(name, _)| !["alloc", "core", "std", "subrosa"].contains(name))
        .map(|(_, path)| path)
        .collect();
    assert_eq!(of_others, BTreeSet::from(TRAITS));
}

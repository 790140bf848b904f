//! What does not compile: mistakes that the types are made to catch, one a file, and the compiler's words.
//!
//! Each file is compiled twice. As a module of this test it is right: `cfg(test)`. By itself, without that, it is wrong,
//! and in no other line. So it fails for its mistake alone.
//!
//! The words are those of the declared version of Rust; under another one they are not compared. To write them anew:
//! `TRYBUILD=overwrite cargo +1.94 test --test compile_fail`, and read what has changed.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics is a test that fails")]

use std::{env, fs, path::Path, process::Command};

#[allow(unreachable_pub, reason = "shared")]
#[path = "common/compiler.rs"]
mod compiler;

#[allow(dead_code, reason = "compiled, not run")]
mod compile_fail {
    mod attachment_after_its_end;
    mod attachment_printed;
    mod bundle_believed;
    mod bundle_twice;
    mod bundle_unverified;
    mod identity_cloned;
    mod identity_printed;
    mod link_without_a_look;
    mod message_to_a_device;
    mod one_time_prekey_twice;
    mod prekeys_uploaded;
    mod recovery_key_printed;
    mod safety_numbers_compared;
    mod sas_confirmed_twice;
    mod sas_step_twice;
    mod sent_what_was_received;
    mod session_cloned;
    mod session_given_away;
    mod session_serialised;
    mod session_shared;
    mod storage_key_compared;
    mod storage_key_is_no_password;
}

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compile_fail");

/// What trybuild compiles the files with. Out of this crate's own manifest it would take the dependencies of benches, as
/// well, and spend a minute on SQLite and criterion.
const MANIFEST: &str = r#"
[package]
name = "mistakes"
version = "0.0.0"
edition = "2024"

[dependencies]
serde_json = "1"
subrosa = { path = "ROOT", default-features = false, features = ["std", "attachments"] }
"#;

#[test]
fn mistakes_do_not_compile() {
    if !compiler::is_declared("compile_fail") {
        return;
    }
    // It looks for the manifest where the environment says: that of a process of its own.
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes");
    if env::var_os("CARGO_MANIFEST_DIR").is_some_and(|directory| Path::new(&directory) == package) {
        return trybuild::TestCases::new().compile_fail(format!("{DIRECTORY}/*.rs"));
    }
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    fs::write(package.join("Cargo.toml"), MANIFEST.replace("ROOT", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["mistakes_do_not_compile", "--exact", "--nocapture"]).env("CARGO_MANIFEST_DIR", package);
    assert!(again.status().unwrap().success());
}

/// A file that is not a module above would be wrong without being right.
#[test]
fn every_mistake_has_what_is_right() {
    let mut count = 0;
    for entry in fs::read_dir(DIRECTORY).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|extension| extension == "rs") {
            assert!(include_str!("compile_fail.rs").contains(&format!("    mod {name};\n")), "{name}");
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} mistakes");
}

//! Which compiler it is: what compilers print differs from release to release.

use std::{env, process::Command};

/// Whether cargo compiles with the declared version of Rust. If not, says which test is left out.
pub fn is_declared(test: &str) -> bool {
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("--version").output();
    let (version, declared) =
        (String::from_utf8(output.unwrap().stdout).unwrap(), env!("CARGO_PKG_RUST_VERSION"));
    let is_declared = version.starts_with(&format!("rustc {declared}."));
    if !is_declared {
        eprintln!("left out with {}: `cargo +{declared} test --test {test}`", version.trim());
    }
    is_declared
}

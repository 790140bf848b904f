//! Secrets that follow from those of a transcript, or from what a device has given, and do not stand in it. Another process
//! computes them, whose memory is not searched; here they arrive masked.

use std::{env, ffi::OsStr, fs::File, path::Path, process::Command};

use curve25519_dalek::Scalar;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
#[allow(deprecated, reason = "what libcrux has in memory is this form")]
use ml_kem::{DecapsulationKey, ExpandedKeyEncoding, MlKem768, MlKem1024};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::MASK;

/// Names the transcript to the other process.
const TRANSCRIPT: &str = "SUBROSA_TEST_TRANSCRIPT";
/// What a line of its output begins with.
const LINE: &str = "secret:";

/// How far chains are followed.
const STEPS: u32 = 12;

pub(crate) type Named = (String, Vec<u8>);

/// The secrets of a transcript that do not stand in it, masked.
pub(crate) fn derived(transcript: &Path) -> Vec<Named> {
    ask("derived::child_derives", &[(TRANSCRIPT, transcript.as_os_str())])
}

/// What a test of this binary prints in another process, to which the variables are given.
pub(crate) fn ask(child: &str, variables: &[(&str, &OsStr)]) -> Vec<Named> {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", child, "--include-ignored", "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let secret = |line: &str| {
        let (name, masked) = line.split_once(LINE)?.1.split_once('=')?;
        Some((name.to_owned(), hex::decode(masked).unwrap()))
    };
    text.lines().filter_map(secret).collect()
}

/// In the other process.
#[test]
#[ignore = "what another process does"]
#[allow(deprecated, reason = "as above")]
fn child_derives() {
    let Some(path) = env::var_os(TRANSCRIPT) else { return };
    let file: Value = serde_json::from_reader(File::open(path).unwrap()).unwrap();
    let mut all = Vec::new();
    for step in file["steps"].as_array().unwrap() {
        if step["op"] == "identity" {
            let random = hex::decode(step["random"].as_str().unwrap()).unwrap();
            identity(&random[..32], &random[32..64], &mut all);
        }
        for secret in step["secrets"].as_array().unwrap() {
            let bytes = hex::decode(secret[1].as_str().unwrap()).unwrap();
            match secret[0].as_str().unwrap() {
                "EC chain key" => chain("EC", bytes, &mut all),
                "PQ chain key A->B" | "PQ chain key B->A" => chain("PQ", bytes, &mut all),
                "prekey KEM seed" => {
                    let key = DecapsulationKey::<MlKem1024>::from_seed(bytes[..].try_into().unwrap());
                    all.push(("ML-KEM-1024 private key".into(), key.to_expanded_bytes()[..1536].to_vec()));
                }
                "KEM seed" => {
                    let key = DecapsulationKey::<MlKem768>::from_seed(bytes[..].try_into().unwrap());
                    all.push(("ML-KEM-768 private key".into(), key.to_expanded_bytes()[..1152].to_vec()));
                }
                _ => {}
            }
        }
    }
    answer(&all);
}

/// In the other process: prints the secrets, masked.
pub(crate) fn answer(all: &[Named]) {
    for (name, bytes) in all {
        let masked: Vec<_> = bytes.iter().map(|byte| byte ^ MASK).collect();
        println!("{LINE}{name}={}", hex::encode(masked));
    }
}

/// What a seed of Ed25519 is expanded to.
pub(crate) fn signing_key(seed: &[u8], all: &mut Vec<Named>) {
    let expanded: [u8; 64] = Sha512::digest(seed).into();
    let scalar = curve25519_dalek::scalar::clamp_integer(*expanded.first_chunk().unwrap());
    all.push(("signing key, expanded".into(), expanded.to_vec()));
    all.push(("signing key, reduced".into(), Scalar::from_bytes_mod_order(scalar).to_bytes().to_vec()));
}

/// Seeds of Ed25519 and X25519.
fn identity(signing: &[u8], agreement: &[u8], all: &mut Vec<Named>) {
    signing_key(signing, all);
    let mut hedge = vec![0; 32];
    Hkdf::<Sha256>::new(Some(signing), agreement).expand(b"Subrosa/1 hedge secret\0", &mut hedge).unwrap();
    all.push(("hedge secret".into(), hedge));
}

/// The keys behind the first of a chain, and the keys of its messages: also of those that never arrived.
fn chain(ratchet: &str, mut key: Vec<u8>, all: &mut Vec<Named>) {
    for number in 0..STEPS {
        let step = |tag: u8| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(&[tag]);
            mac.update(&number.to_be_bytes());
            mac.finalize().into_bytes().to_vec()
        };
        let (message, next) = (step(1), step(2));
        all.push((format!("{ratchet} message key {number}"), message));
        all.push((format!("{ratchet} chain key {}", number + 1), next.clone()));
        key = next;
    }
}

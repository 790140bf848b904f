//! Public values: bytes, text and `serde`.

use std::str::FromStr;

use serde::{Serialize, de::DeserializeOwned};
use subrosa::{
    Address, AttachmentDescriptor, DeviceId, IdentityKey, MessageKind, OneTimePreKey, PreKeyBundle,
    SafetyNumber, SasInitiator, SasResponder, SasStep, SessionId, SignedPreKey, UserId,
};

use crate::{
    Meter,
    common::{NOW, Pair},
    forgeries::text_forgeries,
};

fn bytes<T, E>(name: &'static str, genuine: &[u8], read: impl Fn(&[u8]) -> Result<T, E>) {
    assert!(read(genuine).is_ok());
    Meter::new(name).strangers(genuine, read);
}

fn text<T: FromStr>(name: &'static str, genuine: &str) {
    assert!(genuine.parse::<T>().is_ok());
    let mut meter = Meter::new(name);
    text_forgeries(genuine, &mut |text| meter.check(text.len(), || text.parse::<T>()));
}

/// Through the text format and the binary one that are at hand; what they take themselves is in it.
fn serde<T: Serialize + DeserializeOwned>(name: &'static str, value: &T) {
    let (json, binary) = (serde_json::to_vec(value).unwrap(), postcard::to_allocvec(value).unwrap());
    bytes(name, &json, |bytes| serde_json::from_slice::<T>(bytes));
    bytes(name, &binary, |bytes| postcard::from_bytes::<T>(bytes));
}

#[test]
fn a25_keys_and_bundles() {
    let mut pair = Pair::new(1, 2);
    let key = *pair.bob.identity_key();
    let (signed, one_time) = (pair.prekeys.signed_prekey(), pair.prekeys.hand_out(1).remove(0));
    let bundle = PreKeyBundle::new(key, signed.clone(), Some(one_time.clone()));
    bytes("IdentityKey", &key.to_bytes(), IdentityKey::from_bytes);
    text::<IdentityKey>("IdentityKey, text", &key.to_string());
    bytes("SignedPreKey", &signed.to_bytes(), SignedPreKey::from_bytes);
    bytes("OneTimePreKey", &one_time.to_bytes(), OneTimePreKey::from_bytes);
    bytes("PreKeyBundle", &bundle.to_bytes(), |bytes| PreKeyBundle::from_bytes(bytes)?.verify(NOW));
    serde("IdentityKey, serde", &key);
    serde("PreKeyBundle, serde", &bundle);
    serde("SignedPreKey, serde", &signed);
    serde("OneTimePreKey, serde", &one_time);
    let initial = pair.initiate().encrypt(b"").unwrap();
    bytes("MessageKind", &initial, MessageKind::of);
    let (alice, _) = pair.established();
    serde::<SessionId>("SessionId, serde", &alice.id());
}

#[test]
fn a25_users_and_devices() {
    let key = *Pair::new(1, 0).bob.identity_key();
    // Every Ed25519 key is somebody's.
    let user = UserId::from_bytes(&key.to_bytes()[..UserId::LEN]).unwrap();
    let device = DeviceId::of(&key);
    bytes("UserId", &user.to_bytes(), UserId::from_bytes);
    text::<UserId>("UserId, text", &user.to_string());
    text::<DeviceId>("DeviceId, text", &device.to_string());
    text::<Address>("Address, text", &Address { user, device }.to_string());
    serde("UserId, serde", &user);
    serde("DeviceId, serde", &device);
}

#[test]
fn a25_what_verifies() {
    let pair = Pair::new(1, 0);
    let [alice, bob] = [&pair.alice, &pair.bob]
        .map(|device| UserId::from_bytes(&device.identity_key().to_bytes()[..UserId::LEN]).unwrap());
    let ours = SafetyNumber::new(&alice, &bob).unwrap();
    let theirs = SafetyNumber::new(&bob, &alice).unwrap();
    bytes("verify_scanned", &theirs.scannable(), |code| ours.verify_scanned(code));
    let mut meter = Meter::new("verify_scanned, text");
    text_forgeries(&theirs.scannable_text(), &mut |text| {
        meter.check(text.len(), || ours.verify_scanned(text))
    });

    let (_, commitment) = SasInitiator::begin(&alice, &bob).unwrap();
    let (_, answer) = SasResponder::answer(&bob, &alice, &commitment).unwrap();
    let (_, reveal) = SasInitiator::begin(&alice, &bob).unwrap().0.receive(&answer).unwrap();
    bytes("SasStep", &reveal, SasStep::of);
    bytes("SasResponder::answer", &commitment, |bytes| SasResponder::answer(&bob, &alice, bytes));
    let begun = || SasInitiator::begin(&alice, &bob).unwrap().0;
    bytes("SasInitiator::receive", &answer, |bytes| begun().receive(bytes));
    let answered = || SasResponder::answer(&bob, &alice, &commitment).unwrap().0;
    Meter::new("SasResponder::receive").strangers(&reveal, |bytes| answered().receive(bytes));
}

#[test]
fn a25_descriptors_of_attachments() {
    let head =
        [&[0x71][..], &[7; 32], &70_000_u64.to_be_bytes(), &[8; 32], &65_536_u32.to_be_bytes()].concat();
    for thumbnail in [0, 300, 65_536_u32] {
        let tail =
            [&b"\x09image/png\x08rose.png"[..], &thumbnail.to_be_bytes(), &vec![9; thumbnail as usize]];
        let genuine = [&head[..], &tail.concat()].concat();
        bytes("AttachmentDescriptor", &genuine, AttachmentDescriptor::from_bytes);
        serde("AttachmentDescriptor, serde", &AttachmentDescriptor::from_bytes(&genuine).unwrap());
    }
}

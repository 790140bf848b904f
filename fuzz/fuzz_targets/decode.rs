//! Every public decoder: what it takes, it writes again byte by byte.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use subrosa::{
    Address, AttachmentDescriptor, DeviceId, DeviceList, IdentityKey, MessageKind, OneTimePreKey,
    PreKeyBundle, SafetyNumber, SasResponder, SasStep, Scan, Session, SignedPreKey, UserId,
};
use subrosa_fuzz::{FIXTURE, NOW, rng};

/// What Alice has open, and what Bob shows. Made once: it is slow by design.
static NUMBERS: LazyLock<[SafetyNumber; 2]> = LazyLock::new(|| {
    let [alice, bob] = FIXTURE.users();
    [(alice, bob), (bob, alice)].map(|(me, peer)| SafetyNumber::new(&me, &peer).expect("two users"))
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = IdentityKey::from_bytes(bytes) {
        assert_eq!(key.to_bytes(), bytes);
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(user) = UserId::from_bytes(bytes) {
        assert_eq!(user.to_bytes(), bytes);
        assert_eq!(user.to_string().parse(), Ok(user));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(address) = text.parse::<Address>()
    {
        assert!(address.to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(device) = text.parse::<DeviceId>()
    {
        assert_eq!(device.to_string(), text);
    }
    if let Ok(list) = DeviceList::from_bytes(bytes) {
        assert_eq!(list.to_bytes(), bytes);
        assert!(list.devices().is_sorted());
        assert!(list.devices().all(|key| list.contains(&DeviceId::of(key))));
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(key) = text.parse::<IdentityKey>()
    {
        assert!(key.to_string().eq_ignore_ascii_case(text));
        assert!(text == text.to_lowercase() || text == text.to_uppercase());
    }
    if let Ok(prekey) = SignedPreKey::from_bytes(bytes) {
        assert_eq!(prekey.to_bytes(), bytes);
    }
    if let Ok(prekey) = OneTimePreKey::from_bytes(bytes) {
        assert_eq!(prekey.to_bytes(), bytes);
    }
    if let Ok(bundle) = PreKeyBundle::from_bytes(bytes) {
        assert_eq!(bundle.to_bytes(), bytes);
        let genuine = FIXTURE.bundles.contains(&bundle);
        if let Ok(verified) = bundle.verify(NOW) {
            assert!(genuine, "nobody has signed this");
            let session = Session::initiate_with_rng(&FIXTURE.alice, &verified, &[], &mut rng(5));
            assert!(session.is_ok());
        }
    }
    if let Ok(descriptor) = AttachmentDescriptor::from_bytes(bytes) {
        assert_eq!(descriptor.to_bytes(), bytes);
        let last = descriptor.chunks() - 1;
        assert_eq!(descriptor.file_range(last).end, descriptor.file_len());
        assert_eq!(descriptor.content_range(last).end, descriptor.size());
        assert!(descriptor.file_name().is_none_or(|name| !name.contains(['/', '\\', '\0']) && name != ".."));
        assert_eq!(descriptor.clone().with_media_type(descriptor.media_type()), Ok(descriptor));
    }
    let [alices, bobs] = &*NUMBERS;
    if let Ok(Scan::Match(_)) = alices.verify_scanned(bytes) {
        assert!(bytes == bobs.scannable() || bytes.eq_ignore_ascii_case(bobs.scannable_text().as_bytes()));
    }
    let [alice, bob] = FIXTURE.users();
    let answered = SasResponder::answer_with_rng(&bob, &alice, bytes, &mut rng(6));
    assert_eq!(answered.is_ok(), SasStep::of(bytes) == Ok(SasStep::Commitment) && bytes.len() == 34);
    let first = bytes.get(..1).unwrap_or_default();
    assert_eq!(MessageKind::of(bytes), MessageKind::of(first), "the first byte tells");
});

//! Every public decoder: what it takes, it writes again byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::{
    Address, DeviceId, DeviceList, IdentityKey, MessageKind, OneTimePreKey, PreKeyBundle, Session,
    SignedPreKey, UserId,
};
use subrosa_fuzz::{FIXTURE, NOW, rng};

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
    let first = bytes.get(..1).unwrap_or_default();
    assert_eq!(MessageKind::of(bytes), MessageKind::of(first), "the first byte tells");
});

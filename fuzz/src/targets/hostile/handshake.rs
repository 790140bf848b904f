//! Handshakes and bundles that nobody should make.

use subrosa::{PreKeyBundle, PreKeys, Session, UnixTime};

use super::{
    super::super::{
        FIXTURE, NOW,
        reference::{
            ec::Ec,
            encoding::{HandshakePart, Header, Padding, kind, write_body},
            handshake::{Secrets, first_transcript, identity_key_key, second_stage},
            kem,
            pq::Pq,
            prekeys::{Bundle, Identity, PublicPrekey, prekey_id, signed_bytes, x25519_half},
            primitives::{Key, Refusal, SUITE, cat, extract, label, seal, sign, x25519, x25519_public},
            session::{Draft, Session as Peer},
            tape,
        },
        rng, users,
    },
    Claim, VICTIM, Weak,
};

/// A handshake, step by step; what there is no private key for comes out as zeros.
pub(super) fn first(ephemeral: Option<Weak>, claimed: &Claim, payload_len: u16, counters: [u8; 3]) {
    let bundle = &VICTIM.bundle;
    let mallory = users::identity(10);
    let private = [0x21; 32];
    let zeros = |public: Key| x25519(&private, &public).unwrap_or_default();
    let weak_ephemeral = ephemeral.is_some();
    let ek_a = ephemeral.map_or_else(|| x25519_public(&private), |key| key.bytes());
    // With a weak ephemeral key every secret is known without a private key: zeros.
    let dh = |public: Key| if weak_ephemeral { Key::default() } else { zeros(public) };
    let one_time = bundle.one_time.as_ref().expect("there is one");
    let (ct, ss) = kem::encapsulate_1024(one_time.kem(), &[0x22; 32]);
    let h1 = first_transcript(&bundle.ik, &bundle.signed.record, Some(&one_time.record), &ek_a, &ct);
    let publics = [x25519_half(&bundle.ik), bundle.signed.x25519(), one_time.x25519()];
    let ck1 = extract(&h1, &cat(&[&publics.map(dh).concat(), &ss]));

    let own = |identity: &Identity, ik: &[u8; 64]| {
        sign(&identity.ed25519_seed, &cat(&[label::BINDING, &[SUITE], ik]))
    };
    let mut ik = mallory.ik;
    let binding = match claimed {
        Claim::Itself => mallory.binding,
        Claim::Half(key) => {
            ik[32..].copy_from_slice(&key.bytes());
            own(&mallory, &ik)
        }
        Claim::Victim { binding } => {
            ik = VICTIM.identity.identity_key().to_bytes();
            if *binding { mallory.binding } else { own(&mallory, &ik) }
        }
    };
    let payload = vec![0x5a; usize::from(payload_len % 600)];
    let c = seal(&identity_key_key(&ck1), &h1, &cat(&[&ik, &binding, &payload]));
    let last = x25519(&mallory.x25519_private, &bundle.signed.x25519()).expect("not of small order");
    let last = if ik == mallory.ik { last } else { Key::default() };
    let Secrets { ec_root, pq_secret, hk_ab, hk_ba, ad, .. } = second_stage(&h1, &ck1, &c, &ik, &last);

    let part = HandshakePart {
        signed_prekey_id: &prekey_id(&bundle.signed.record),
        one_time_prekey_id: Some(&prekey_id(&one_time.record)),
        ek_a,
        ct: &ct,
        c: &c,
    };
    let mut ec = Ec::initiator(ec_root, hk_ab, hk_ba, bundle.signed.x25519());
    ec.turn_to_send([0x23; 32]);
    let (mk_ec, (ratchet_key, pn, n)) = ec.send();
    let (mk_pq, _) = Pq::new(&pq_secret, true).send();
    let [n_off, epoch, pq_n] = counters.map(u32::from);
    let header = Header { ratchet_key, pn, n: n + n_off, pq_epoch: epoch, pq_n, incarnation: 1 };
    let body = write_body(b"believe me", &None, Padding::Buckets);
    let before = cat(&[&[kind::INITIAL_MESSAGE], &part.to_bytes()]);
    let header_key = ec.sending.expect("it has sent").header_key;
    let message = Draft { before, header, body, header_key, mk_ec, mk_pq, ad }.seal();

    let mut prekeys = PreKeys::open(&FIXTURE.key, &VICTIM.prekeys).expect("sealed under this key");
    let result = Session::accept_with_rng(&VICTIM.identity, &mut prekeys, &message, &mut rng(33));
    let honest = !weak_ephemeral && ik == mallory.ik && counters == [0; 3] && payload.len() <= 512;
    match result {
        Ok(accepted) => {
            assert!(honest, "who lies was believed");
            assert_eq!((&accepted.content[..], accepted.payload), (&b"believe me"[..], payload));
            assert_eq!(accepted.session.peer_identity().to_bytes(), mallory.ik);
        }
        Err(error) => {
            assert!(!honest, "{error:?} for an honest message");
            assert!(prekeys.seal(&FIXTURE.key) == VICTIM.prekeys, "{error:?} has changed something");
        }
    }
}

/// The reference says which bundles are good.
pub(super) fn bundle(keys: [Option<Weak>; 2], kem: [Option<(u16, u8)>; 2], not_after: u64, one_time: bool) {
    let mallory = users::identity(11);
    let mut bundle = VICTIM.bundle.clone();
    bundle.ik = mallory.ik;
    let [key, one_time_key] = keys;
    let [flip, one_time_flip] = kem;
    spoil(&mut bundle.signed, key, flip);
    bundle.signed.record[1601..].copy_from_slice(&not_after.to_be_bytes());
    bundle.signed.signature = signed(&mallory, label::SIGNED_PREKEY, &bundle.signed.record);
    if !one_time {
        bundle.one_time = None;
    }
    if let Some(prekey) = &mut bundle.one_time {
        spoil(prekey, one_time_key, one_time_flip);
        prekey.signature = signed(&mallory, label::ONE_TIME_PREKEY, &prekey.record);
    }
    let bytes = bundle.to_bytes();
    let expected = Bundle::read(&bytes).and_then(|bundle| bundle.verify(NOW.as_secs()));
    let read = PreKeyBundle::from_bytes(&bytes).and_then(|bundle| bundle.verify(NOW));
    let name = |error: &Refusal| format!("{error:?}");
    assert_eq!(read.as_ref().err().map(|error| format!("{error:?}")), expected.as_ref().err().map(name));
    let Ok(verified) = read else { return };
    assert!(UnixTime::from_secs(not_after) >= NOW);
    let session = Session::initiate_with_rng(&FIXTURE.alice, verified, b"", &mut rng(34));
    let expected = Peer::initiate(&users::identity(12), &bundle, b"", &mut tape(700));
    assert_eq!(session.err().map(|error| format!("{error:?}")), expected.err().as_ref().map(name));
}

fn spoil(prekey: &mut PublicPrekey, key: Option<Weak>, flip: Option<(u16, u8)>) {
    if let Some(key) = key {
        prekey.record[1..33].copy_from_slice(&key.bytes());
    }
    if let Some((at, mask)) = flip {
        prekey.record[33 + usize::from(at) % 1_568] ^= mask;
    }
}

fn signed(identity: &Identity, label: &[u8], record: &[u8]) -> [u8; 64] {
    sign(&identity.ed25519_seed, &signed_bytes(label, record, &identity.ik))
}

//! Who records everything from the first message on, steals nothing, and breaks X25519 later.
//!
//! He has the wire, and the result of every agreement of X25519, of the handshake and of each turn. What he lacks is ML-KEM's
//! secret of the handshake; and, to show that nothing else keeps him out, he gets that as well.

use std::{string::String, vec::Vec};

use chacha20::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{
    IdentityKey, IdentityKeyPair, PreKeys, Session, UnixTime, VerifiedBundle,
    crypto::recorder::recorded,
    handshake::outsider::{Agreements, compute},
    ratchet::{HeaderKey, NextHeaderKey, RootKey, chain::Chain, ec, pq},
    wire::message::HandshakePart,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

type Trace = Vec<(String, String)>;

/// A value of a trace, if it has it.
fn traced(trace: &Trace, name: &str) -> Option<Secret<32>> {
    let (_, value) = trace.iter().find(|(key, _)| key == name)?;
    Some(Secret::new(hex::decode(value).unwrap().try_into().unwrap()))
}

/// A message on the wire.
struct Sent {
    by_initiator: bool,
    bytes: Vec<u8>,
    content: Vec<u8>,
    /// The agreement of the turn, if the sender made a new ratchet key for this message.
    turn: Option<Secret<32>>,
}

/// A conversation of two who keep their secrets, with nothing lost.
struct Recording {
    bundle: VerifiedBundle,
    initiator: IdentityKey,
    handshake: Trace,
    wire: Vec<Sent>,
    epochs: u32,
}

fn record(seed: u64, one_time: u16) -> Recording {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let (alice, bob) = (IdentityKeyPair::generate_with_rng(rng), IdentityKeyPair::generate_with_rng(rng));
    let mut prekeys = PreKeys::generate_with_rng(&bob, one_time, NOW, rng);
    let unverified = prekeys.bundle();
    let bundle = unverified.clone().verify(NOW).unwrap();
    let used = unverified.verify(NOW).unwrap();
    let (initiated, handshake) = recorded(|| Session::initiate_with_rng(&alice, used, &[], rng));
    let mut sides = [None, Some(initiated.unwrap())];
    let mut wire = Vec::new();
    for number in 0..200 {
        let by_initiator = number == 0 || rng.random();
        let content = std::format!("message {number}").into_bytes();
        let [responder, initiator] = &mut sides;
        let (from, to) = if by_initiator { (initiator, responder) } else { (responder, initiator) };
        let from = from.as_mut().unwrap();
        let (bytes, trace) = recorded(|| from.encrypt_with_rng(&content, rng).unwrap());
        match to {
            Some(to) => assert_eq!(to.decrypt(&bytes).unwrap(), content),
            none => {
                let accepted = Session::accept_with_rng(&bob, &mut prekeys, &bytes, rng).unwrap();
                *none = Some(accepted.session);
            }
        }
        wire.push(Sent { by_initiator, bytes, content, turn: traced(&trace, "DH") });
    }
    let epochs = sides[1].as_ref().unwrap().pq_epoch();
    Recording { bundle, initiator: *alice.identity_key(), handshake, wire, epochs }
}

/// What he has got out of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    initiator: bool,
    headers: usize,
    /// Contents, and those of them that are not of the first PQ epoch.
    contents: usize,
    later_contents: usize,
}

/// What a recording gives who has all agreements, and this for ML-KEM's secret.
fn broken(recording: &Recording, kem: Secret<32>) -> Found {
    let Recording { bundle, initiator, handshake, wire, .. } = recording;
    let agreement = |name| traced(handshake, name);
    let agreements = Agreements {
        identity: agreement("DH(EK_A, IK_B)").unwrap(),
        signed: agreement("DH(EK_A, SPK_B)").unwrap(),
        one_time: bundle.one_time_prekey().and_then(|_| agreement("DH(EK_A, OPK_B)")),
        kem,
        initiator: agreement("DH(IK_A, SPK_B)").unwrap(),
    };
    let first = Message::parse(&wire[0].bytes).unwrap();
    let part = HandshakePart::parse(first.handshake.unwrap()).unwrap();
    // He may even know who writes.
    let (named, secrets) = compute(bundle, &part, &agreements, initiator);
    let mut found = Found { initiator: named.as_ref() == Ok(initiator), ..Found::default() };

    let session = secrets.associated_data;
    let mut root: RootKey = secrets.ec_root;
    // Of the responder, of the initiator.
    let mut next: [Option<NextHeaderKey>; 2] =
        [Some(secrets.responder_header_key), Some(secrets.initiator_header_key)];
    let mut sending: [Option<(HeaderKey, Chain<Ec>)>; 2] = [None, None];
    let (_, [initiators, responders]) =
        pq::root_step(&[0; 32], secrets.pq_secret.as_bytes(), Label::PQ_START);
    let mut pq = [responders, initiators].map(Chain::<Pq>::new);
    for sent in wire {
        let side = usize::from(sent.by_initiator);
        if let Some(agreement) = &sent.turn {
            let (new_root, chain, next_header_key) = ec::root_step(&root, agreement);
            root = new_root;
            let header_key = next[side].replace(next_header_key).unwrap().into_header_key();
            sending[side] = Some((header_key, chain));
        }
        let (header_key, chain) = sending[side].as_mut().unwrap();
        let (_, ec_key) = chain.advance().unwrap();
        let message = Message::parse(&sent.bytes).unwrap();
        let Ok(bytes) = header_key.open(&SealedHeader::of(&message).unwrap()) else { continue };
        found.headers += 1;
        let header = Header::from_bytes(&bytes).unwrap();
        // Later epochs have secrets of their own. He tries what he has.
        let number = header.pq_message_number;
        let Ok(ahead) = pq[side].look_ahead_for(number, u32::MAX, |_| false) else { continue };
        if header.pq_epoch == 0 {
            pq[side] = ahead.chain;
        }
        let key = MessageSecrets::derive(&ec_key, &ahead.message_key, &bytes);
        if let Ok((content, _)) = key.opened(&session, &bytes, message.body) {
            assert_eq!(content, sent.content);
            found.contents += 1;
            found.later_contents += usize::from(header.pq_epoch > 0);
        }
    }
    found
}

/// Neither who writes, nor a header, nor a content, of a whole conversation.
#[test]
fn a_recorder_with_a_quantum_computer_learns_nothing() {
    for (seed, one_time) in [(1, 0), (2, 1)] {
        let recording = record(seed, one_time);
        assert!(
            recording.epochs > 3 && recording.wire.iter().filter(|sent| sent.turn.is_some()).count() > 50
        );
        let right = traced(&recording.handshake, "ss").unwrap();
        let mut nearly = *right.as_bytes();
        nearly[31] ^= 1;
        for guess in [[0; 32], nearly] {
            assert_eq!(broken(&recording, Secret::new(guess)), Found::default(), "seed {seed}");
        }
        // With it: who writes, every header, and the content of the first PQ epoch, which no other KEM secret is in.
        let found = broken(&recording, right);
        assert!(found.initiator);
        assert_eq!(found.headers, recording.wire.len());
        assert!((10..recording.wire.len() / 2).contains(&found.contents), "{found:?}");
        assert_eq!(found.later_contents, 0);
    }
}

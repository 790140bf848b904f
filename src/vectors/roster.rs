//! The transcript of users and devices: `tests/vectors/roster.json`.

use alloc::{borrow::ToOwned, format, vec::Vec};

use serde_json::{Value, json};

use super::Script;
use crate::{
    Address, DeviceId, DeviceList, IdentityKey, UnixTime,
    crypto::sign::Signature,
    roster::{Certificate, Payload, RootKey, claim},
};

impl Script {
    pub(crate) fn root(&mut self, who: &'static str) {
        self.step("root", who, |script| {
            let root = RootKey::generate(&mut script.rng).unwrap();
            let (user_id, text) = (hex::encode(root.user_id().to_bytes()), format!("{}", root.user_id()));
            script.roots.insert(who, root);
            Vec::from([("user_id", json!(user_id)), ("text", json!(text))])
        });
    }

    pub(crate) fn entry(&self, device: &str, user: &str) -> (IdentityKey, Signature) {
        let identity = &self.people[device].identity;
        (*identity.identity_key(), claim(identity, self.roots[user].user_id()))
    }

    pub(crate) fn device(&mut self, who: &'static str, user: &'static str) {
        self.step("device", who, |script| {
            let (identity_key, claim) = script.entry(who, user);
            let device = DeviceId::of(&identity_key);
            let address = Address { user: *script.roots[user].user_id(), device };
            Vec::from([
                ("user", json!(user)),
                ("device_id", json!(format!("{device}"))),
                ("address", json!(format!("{address}"))),
                ("claim", json!(hex::encode(claim.as_bytes()))),
            ])
        });
    }

    /// Returns the number of the list.
    pub(crate) fn list(
        &mut self,
        who: &'static str,
        previous: Option<usize>,
        devices: &[&'static str],
        issued: u64,
    ) -> usize {
        self.step("list", who, |script| {
            let entries = devices.iter().map(|device| script.entry(device, who)).collect();
            let before = previous.map(|number| &script.lists[number]);
            let issued = UnixTime::from_secs(issued);
            let list = DeviceList::sign(&script.roots[who], before, entries, issued).unwrap();
            let fields = Vec::from([
                ("previous", json!(previous)),
                ("devices", json!(devices)),
                ("issued", json!(issued.as_secs())),
                ("version", json!(list.version())),
                ("list", json!(hex::encode(list.to_bytes()))),
                ("hash", json!(hex::encode(list.hash()))),
            ]);
            script.lists.push(list);
            fields
        });
        self.lists.len() - 1
    }

    fn compare(&mut self, who: &'static str, list: usize, known: usize) {
        self.step("compare", who, |script| {
            let succession = script.lists[list].compare(&script.lists[known].known());
            Vec::from([
                ("list", json!(list)),
                ("known", json!(known)),
                ("succession", json!(format!("{succession:?}"))),
            ])
        });
    }

    fn read_list(&mut self, who: &'static str, bytes: &[u8]) {
        self.step("read_list", who, |_| {
            let error = DeviceList::from_bytes(bytes).unwrap_err();
            Vec::from([("list", json!(hex::encode(bytes))), ("error", json!(format!("{error:?}")))])
        });
    }

    /// A list that was altered, and signed as it is then, is refused.
    fn altered(&mut self, list: usize, user: &'static str, alter: impl FnOnce(&mut Vec<u8>)) {
        let bytes = crate::roster::fixture::altered(&self.roots[user], &self.lists[list], alter);
        self.read_list(user, &bytes);
    }

    pub(crate) fn certified(&self, device: &str, user: &str, list: usize, recipient: &str) -> Payload {
        let (identity_key, claim) = self.entry(device, user);
        let certificate = Certificate::issue(&self.roots[user], &identity_key, claim, &self.lists[list]);
        Payload { certificate, recipient: *self.roots[recipient].user_id() }
    }

    fn payload(&mut self, who: &'static str, user: &'static str, list: usize, recipient: &'static str) {
        self.step("payload", who, |script| {
            let payload = script.certified(who, user, list, recipient);
            Vec::from([
                ("user", json!(user)),
                ("list", json!(list)),
                ("recipient", json!(recipient)),
                ("payload", json!(hex::encode(payload.to_bytes()))),
            ])
        });
    }

    /// A payload in a handshake of `who`, read and verified.
    fn read_payload(&mut self, who: &'static str, payload: &[u8]) {
        self.step("read_payload", who, |script| {
            let identity_key = script.people[who].identity.identity_key();
            let read = Payload::from_bytes(payload);
            let result = read.and_then(|payload| payload.certificate.verify(identity_key));
            let error = result.map_or_else(|error| json!(format!("{error:?}")), |()| Value::Null);
            Vec::from([("payload", json!(hex::encode(payload))), ("error", error)])
        });
    }
}

#[test]
fn users_and_devices() {
    let mut script = Script::new(8);
    for user in ["alice", "mallory"] {
        script.root(user);
    }
    for (device, user) in [("laptop", "alice"), ("phone", "alice"), ("burner", "mallory")] {
        script.identity(device);
        script.device(device, user);
    }
    let now = script.now.as_secs();
    let first = script.list("alice", None, &["laptop"], now);
    let second = script.list("alice", Some(first), &["laptop", "phone"], now + 1_000);
    let third = script.list("alice", Some(second), &["phone"], now + 2_000);
    // The root key was put back to before the second list.
    let fork = script.list("alice", Some(first), &["phone"], now + 1_000);
    let after = script.list("alice", Some(fork), &["laptop", "phone"], now + 2_000);
    let of_mallory = script.list("mallory", None, &["burner"], now);
    for (list, known) in [
        (second, second),
        (second, first),
        (third, first),
        (first, third),
        (fork, second),
        (after, second),
        (after, fork),
        (after, third),
        (after, first),
    ] {
        script.compare("alice", list, known);
    }
    refused_lists(&mut script, first, second, of_mallory);
    payloads(&mut script, first, second, of_mallory);
    script.check(
        "roster",
        "Users, devices, device lists and how they follow each other, certificates, refusals.",
    );
}

fn refused_lists(script: &mut Script, first: usize, second: usize, of_mallory: usize) {
    let whole = script.lists[second].to_bytes();
    // A byte of a key, of a claim, of the root signature.
    for at in [100, 200, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        script.read_list("alice", &flipped);
    }
    let mut version = whole.clone();
    version[0] = 0x62;
    for bytes in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &version, &[]] {
        script.read_list("alice", bytes);
    }
    // Signed by the user, and wrong all the same.
    script.altered(second, "mallory", |_| {});
    script.altered(second, "alice", |bytes| bytes[86..].rotate_left(128));
    script.altered(second, "alice", |bytes| bytes.copy_within(86..214, 214));
    script.altered(second, "alice", |bytes| bytes[85] = 1);
    script.altered(second, "alice", |bytes| bytes[37..69].fill(0));
    script.altered(first, "alice", |bytes| bytes[68] = 1);
    script.altered(first, "alice", |bytes| bytes[33..37].fill(0));
    script.altered(first, "alice", |bytes| bytes.copy_within(69..77, 77));
    script.altered(first, "alice", |bytes| bytes[84] += 1);
    script.altered(first, "alice", |bytes| bytes[1..33].fill(0));
    script.altered(first, "alice", |bytes| bytes[86..118].fill(0));
    script.altered(first, "alice", |bytes| bytes[149] |= 0x80);
    let none = |bytes: &mut Vec<u8>| {
        bytes[85] = 0;
        bytes.truncate(86);
    };
    script.altered(first, "alice", none);
    // Mallory lists Alice's laptop, with the claim that names Alice.
    let entry = script.lists[first].to_bytes()[86..214].to_owned();
    script.altered(of_mallory, "mallory", |bytes| bytes[86..].copy_from_slice(&entry));
    // And Alice a device with the X25519 half of another.
    let half = script.people["burner"].identity.identity_key().to_bytes()[32..].to_owned();
    script.altered(first, "alice", |bytes| bytes[118..150].copy_from_slice(&half));
}

fn payloads(script: &mut Script, first: usize, second: usize, of_mallory: usize) {
    script.payload("laptop", "alice", first, "mallory");
    script.payload("phone", "alice", second, "mallory");
    script.payload("burner", "mallory", of_mallory, "alice");
    let good = script.certified("phone", "alice", second, "mallory").to_bytes();
    script.read_payload("phone", &good);
    script.read_payload("laptop", &good);
    script.read_payload("burner", &good);
    script.read_payload("phone", &good[..255]);
    script.read_payload("phone", &[&good[..], &[0]].concat());
    // One byte of each field: version, user, list version, hash, expiry, claim, root signature, recipient, zeros.
    for at in [0, 20, 36, 40, 76, 80, 150, 210, 237, 255] {
        let mut flipped = good;
        flipped[at] ^= 1;
        script.read_payload("phone", &flipped);
    }
    let mut zero = good;
    zero[33..37].fill(0);
    script.read_payload("phone", &zero);
    let mut weak = good;
    weak[205..237].fill(0);
    script.read_payload("phone", &weak);
    // Mallory's root and the claim of Alice's phone, which names Alice.
    let (identity_key, claim) = script.entry("phone", "alice");
    let root = &script.roots["mallory"];
    let certificate = Certificate::issue(root, &identity_key, claim, &script.lists[of_mallory]);
    let stolen = Payload { certificate, recipient: *root.user_id() }.to_bytes();
    script.read_payload("phone", &stolen);
}

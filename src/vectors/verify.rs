//! The transcript of verifications: `tests/vectors/verify.json`.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use serde_json::{Value, json};

use super::Script;
use crate::{Error, SafetyNumber, SasCode, SasInitiator, SasResponder, UserId};

fn shown(code: &SasCode) -> [(&'static str, Value); 2] {
    [("emoji", json!(code.emoji().map(|emoji| emoji.name()))), ("numbers", json!(code.numbers()))]
}

impl Script {
    fn user(&self, who: &str) -> UserId {
        *self.roots[who].user_id()
    }

    fn number(&self, who: &str, peer: &str) -> SafetyNumber {
        SafetyNumber::new(&self.user(who), &self.user(peer)).unwrap()
    }

    fn safety_number(&mut self, who: &'static str, peer: &'static str) {
        self.step("safety_number", who, |script| {
            let number = script.number(who, peer);
            Vec::from([
                ("peer", json!(peer)),
                ("digits", json!(format!("{number}"))),
                ("scannable", json!(hex::encode(number.scannable()))),
                ("text", json!(number.scannable_text())),
            ])
        });
    }

    fn scan(&mut self, who: &'static str, peer: &'static str, code: &[u8]) {
        self.step("scan", who, |script| {
            let result = script.number(who, peer).verify_scanned(code);
            let result = match result {
                Ok(scan) => {
                    let name: String = format!("{scan:?}").chars().take_while(|c| *c != '(').collect();
                    ("result", json!(name))
                }
                Err(error) => ("error", json!(format!("{error:?}"))),
            };
            Vec::from([("peer", json!(peer)), ("code", json!(hex::encode(code))), result])
        });
    }

    fn sas(&mut self, who: &'static str, peer: &'static str) -> [Vec<u8>; 3] {
        let mut messages = None;
        self.step("sas", who, |script| {
            let (me, them) = (script.user(who), script.user(peer));
            let (waiting, commitment) = SasInitiator::begin_with_rng(&me, &them, &mut script.rng).unwrap();
            let answered = SasResponder::answer_with_rng(&them, &me, &commitment, &mut script.rng);
            let (answered, answer) = answered.unwrap();
            let (code, reveal) = waiting.receive(&answer).unwrap();
            let [emoji, numbers] = shown(&code);
            assert_eq!(shown(&answered.receive(&reveal).unwrap()), [emoji.clone(), numbers.clone()]);
            messages = Some([commitment, answer, reveal].map(Vec::from));
            Vec::from([
                ("peer", json!(peer)),
                ("commitment", json!(hex::encode(commitment))),
                ("answer", json!(hex::encode(answer))),
                ("reveal", json!(hex::encode(reveal))),
                emoji,
                numbers,
            ])
        });
        messages.unwrap()
    }

    /// An exchange up to this step, the message of which is another one.
    fn read_sas(&mut self, who: &'static str, peer: &'static str, step: u8, message: &[u8]) {
        self.step("read_sas", who, |script| {
            let (me, them) = (script.user(who), script.user(peer));
            let error: Error = if step == 1 {
                SasResponder::answer_with_rng(&them, &me, message, &mut script.rng).map(drop).unwrap_err()
            } else {
                let begun = SasInitiator::begin_with_rng(&me, &them, &mut script.rng);
                let (waiting, commitment) = begun.unwrap();
                if step == 2 {
                    waiting.receive(message).map(drop).unwrap_err()
                } else {
                    let answered = SasResponder::answer_with_rng(&them, &me, &commitment, &mut script.rng);
                    answered.unwrap().0.receive(message).map(drop).unwrap_err()
                }
            };
            Vec::from([
                ("peer", json!(peer)),
                ("step", json!(step)),
                ("message", json!(hex::encode(message))),
                ("error", json!(format!("{error:?}"))),
            ])
        });
    }
}

#[test]
fn verifications() {
    let mut script = Script::new(10);
    let users = ["alice", "bob", "carol", "mallory"];
    for user in users {
        script.root(user);
    }
    for (who, peer) in [("alice", "bob"), ("bob", "alice"), ("alice", "carol"), ("mallory", "bob")] {
        script.safety_number(who, peer);
    }
    scans(&mut script);
    for (who, peer) in [("alice", "bob"), ("bob", "alice"), ("alice", "bob"), ("carol", "mallory")] {
        script.sas(who, peer);
    }
    refused_messages(&mut script);
    script.check("verify", "Safety numbers, codes that are scanned, short authentication strings, refusals.");
}

fn scans(script: &mut Script) {
    for (by, to) in
        [("bob", "alice"), ("bob", "mallory"), ("mallory", "alice"), ("carol", "bob"), ("alice", "bob")]
    {
        let shown = script.number(by, to);
        script.scan("alice", "bob", &shown.scannable());
        script.scan("alice", "bob", shown.scannable_text().as_bytes());
    }
    let good = script.number("bob", "alice");
    let (code, text) = (good.scannable(), good.scannable_text());
    script.scan("alice", "bob", text.to_lowercase().as_bytes());
    let altered = |at: usize, value: u8| {
        let mut altered = code.to_vec();
        altered[at] = value;
        altered
    };
    let weak = [&code[..34], &[0; 32]].concat();
    let mixed = format!("{}{}", &text[..40], text[40..].to_lowercase());
    for bad in [
        altered(0, 0x82),
        altered(0, 0x82)[..9].to_vec(),
        altered(0, 0x61),
        altered(1, 1),
        altered(33, code[33] ^ 0x40),
        weak,
        code[..65].to_vec(),
        [&code[..], &[0]].concat(),
        Vec::new(),
        mixed.into_bytes(),
        text.as_bytes()[..118].to_vec(),
        [text.as_bytes(), b"Q"].concat(),
        format!("{}", script.user("bob")).into_bytes(),
        "SRSCAN".to_owned().into_bytes(),
    ] {
        script.scan("alice", "bob", &bad);
    }
}

fn refused_messages(script: &mut Script) {
    let old = script.sas("alice", "bob");
    for step in 1..=3u8 {
        let good = &old[usize::from(step) - 1];
        let altered = |at: usize, value: u8| {
            let mut altered = good.clone();
            altered[at] = value;
            altered
        };
        for bad in [
            Vec::new(),
            good[..33].to_vec(),
            [&good[..], &[0]].concat(),
            altered(0, 0x82),
            altered(0, 0x11),
            altered(1, step % 3 + 1),
            altered(1, 0),
        ] {
            script.read_sas("alice", "bob", step, &bad);
        }
    }
    // Of another exchange.
    script.read_sas("alice", "bob", 3, &old[2]);
}

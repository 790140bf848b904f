//! Both of everything that is done with prekeys and bundles.

use rand::RngExt;
use subrosa::{PreKeyBundle, Session as Ours, UnixTime};

use super::world::{Both, Person, World, alike, noted, same};
use crate::reference::{notes::note, prekeys::Bundle, primitives::Refusal, session::Session as Model};

impl World {
    /// `who`'s next bundle, with a one-time prekey if one is wanted and left.
    pub fn bundle(&mut self, who: usize, one_time: bool) -> Vec<u8> {
        let person = &mut self.people[who];
        let (ours, model) = &mut person.prekeys;
        let bundles = if one_time && self.rng.random() {
            (ours.bundle(), model.bundle())
        } else {
            // As a server puts them together.
            let signed = ours.signed_prekey();
            let handed_out = ours.hand_out(one_time.into()).pop();
            let ours = PreKeyBundle::new(*person.identity.0.identity_key(), signed, handed_out);
            (ours, if one_time { model.bundle() } else { model.bundle_with(None) })
        };
        let bytes = bundles.0.to_bytes();
        assert!(bytes == bundles.1.to_bytes(), "bundles differ");
        assert_eq!(ours.not_handed_out(), model.not_handed_out());
        person.bundles.push(bytes.clone());
        bytes
    }

    /// Reads a bundle, verifies it, and initiates with it. The session's place, if it is one.
    pub fn initiate(&mut self, who: usize, bundle: &[u8], payload: &[u8]) -> Result<usize, Refusal> {
        let now = self.now;
        let read = same(PreKeyBundle::from_bytes(bundle), Bundle::read(bundle), |ours, model| {
            ours.to_bytes() == bundle && model.to_bytes() == bundle
        });
        let (ours, model) = noted("bundle", read)?;
        let (ours, ()) =
            noted("bundle", same(ours.verify(UnixTime::from_secs(now)), model.verify(now), |_, ()| true))?;
        let mut tapes = self.tapes(2);
        let identity = &self.people[who].identity;
        let ours = Ours::initiate_with_rng(&identity.0, ours, payload, &mut tapes[0]);
        let model = Model::initiate(&identity.1, &model, payload, &mut tapes[1]);
        alike(&tapes);
        let initiated = same(ours, model, |_, _| true);
        let (ours, model) = noted("initiate", initiated)?;
        let sessions = &mut self.people[who].sessions;
        sessions.push(Both { ours, model });
        sessions[sessions.len() - 1].compare();
        Ok(sessions.len() - 1)
    }

    /// What an app does with prekeys once a day.
    pub fn maintain(&mut self, who: usize, refill: u16, rotate: bool) {
        let (now, mut tapes) = (self.now, self.tapes(1 + usize::from(refill)));
        let Person { identity, prekeys: (ours, model), .. } = &mut self.people[who];
        let due = model.rotation_due(now);
        assert_eq!(ours.rotation_due(UnixTime::from_secs(now)), due);
        if due || rotate {
            note("a signed prekey is replaced");
            ours.rotate_with_rng(&identity.0, UnixTime::from_secs(now), &mut tapes[0]).unwrap();
            model.rotate(&identity.1, now, &mut tapes[1]);
        }
        ours.refill_with_rng(&identity.0, refill, &mut tapes[0]).unwrap();
        model.refill(&identity.1, refill.into(), &mut tapes[1]);
        alike(&tapes);
        assert_eq!(ours.not_handed_out(), model.not_handed_out());
    }
}

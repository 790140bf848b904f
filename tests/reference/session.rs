//! Sections 9 to 11: what is sent, what is received, which of two sessions is sent on.

use super::{
    chain::LAST,
    ec::{Ec, Under},
    encoding::{Header, MAX_CONTENT, Message, Padding, kind, read_body, write_body},
    handshake::{self, Answer, Secrets},
    notes,
    pq::Pq,
    prekeys::{Bundle, Identity, IdentityKey, Prekeys},
    primitives::{Key, Refusal, SUITE, Tape, cat, hkdf, hmac, label, open, open_x, seal, seal_x},
};

#[derive(Clone)]
pub struct Session {
    /// Whether it was initiated here.
    pub initiator: bool,
    pub id: Key,
    ad: Key,
    pub peer: IdentityKey,
    pub used_one_time_prekey: bool,
    /// The initiator's own, or the one that the responder accepted.
    handshake_part: Vec<u8>,
    /// Whether the initiator has decrypted a message of it.
    pub answered: bool,
    pub incarnation: u32,
    pub padding: Padding,
    pub ec: Ec,
    pub pq: Pq,
}

/// A message before it is sealed.
pub struct Draft {
    /// Every byte before the header.
    pub before: Vec<u8>,
    pub header: Header,
    pub body: Vec<u8>,
    pub header_key: Key,
    pub mk_ec: Key,
    pub mk_pq: Key,
    pub ad: Key,
}

/// What comes of an initial message.
pub struct Accepted {
    pub session: Session,
    pub content: Vec<u8>,
    pub payload: Vec<u8>,
}

fn body_key(mk_ec: &Key, mk_pq: &Key, header: &[u8]) -> Key {
    hmac(mk_pq, &cat(&[mk_ec, label::MESSAGE, header]))
}

impl Draft {
    /// Steps 7 and 8 of section 9.
    pub fn seal(&self) -> Vec<u8> {
        let header = self.header.to_bytes();
        let sealed_body =
            seal(&body_key(&self.mk_ec, &self.mk_pq, &header), &cat(&[&self.ad, &header]), &self.body);
        let nonce = &sealed_body[sealed_body.len() - 24..];
        let sealed_header = seal_x(&self.header_key, nonce, &cat(&[&[SUITE], &self.before]), &header);
        cat(&[&self.before, &sealed_header, &sealed_body])
    }
}

impl Session {
    pub fn initiate(
        identity: &Identity,
        bundle: &Bundle,
        payload: &[u8],
        tape: &mut Tape,
    ) -> Result<Self, Refusal> {
        let (secrets, handshake_part) = handshake::initiate(identity, bundle, payload, tape)?;
        let spk_b = bundle.signed.x25519();
        let Secrets { ec_root, pq_secret, hk_ab, hk_ba, session_id, ad } = secrets;
        Ok(Self {
            initiator: true,
            id: session_id,
            ad,
            peer: bundle.ik,
            used_one_time_prekey: bundle.one_time.is_some(),
            handshake_part,
            answered: false,
            incarnation: tape.u32(),
            padding: Padding::Buckets,
            ec: Ec::initiator(ec_root, hk_ab, hk_ba, spk_b),
            pq: Pq::new(&pq_secret, true),
        })
    }

    /// Of the responder, before its first message.
    fn respond(answer: &Answer, handshake_part: &[u8]) -> Self {
        let Secrets { ec_root, pq_secret, hk_ab, hk_ba, session_id, ad } = answer.secrets;
        Self {
            initiator: false,
            id: session_id,
            ad,
            peer: answer.ik_a,
            used_one_time_prekey: answer.one_time_prekey_id.is_some(),
            handshake_part: handshake_part.to_vec(),
            answered: true,
            incarnation: 0, // drawn when the message has opened
            padding: Padding::Buckets,
            ec: Ec::responder(ec_root, hk_ab, hk_ba, answer.ratchet_key),
            pq: Pq::new(&pq_secret, false),
        }
    }

    /// As it comes from storage.
    pub fn reopened(&self, tape: &mut Tape) -> Self {
        Self { incarnation: tape.u32(), ..self.clone() }
    }

    pub fn needs_rehandshake(&self) -> bool {
        self.pq.braid.has_ended()
    }

    /// Section 9.
    pub fn encrypt(&mut self, content: &[u8], tape: &mut Tape) -> Result<Vec<u8>, Refusal> {
        Ok(self.draft(content, tape)?.seal())
    }

    /// Steps 1 to 6 of section 9.
    pub fn draft(&mut self, content: &[u8], tape: &mut Tape) -> Result<Draft, Refusal> {
        if content.len() > MAX_CONTENT {
            return Err(Refusal::ContentTooLong);
        }
        let ec_position = self.ec.sending.as_ref().map_or(0, |sending| sending.chain.position);
        if ec_position == LAST || self.pq.sending.position == LAST {
            return Err(Refusal::CounterExhausted);
        }
        let for_the_braid = self.pq.draw(tape);
        if self.ec.sending.is_none() {
            let peer = self.ec.peer.unwrap();
            let [private] = hkdf(&tape.key(), &self.ec.root, label::HEDGED_RATCHET_KEY, &peer);
            self.ec.turn_to_send(private);
        }
        let (mk_ec, (ratchet_key, pn, n)) = self.ec.send();
        let (mk_pq, (pq_epoch, pq_n)) = self.pq.send();
        let codewords = self.pq.send_codewords(self.padding.room(content.len()), &for_the_braid);
        let before = match self.initiator && !self.answered {
            true => cat(&[&[kind::INITIAL_MESSAGE], &self.handshake_part]),
            false => vec![kind::RATCHET_MESSAGE],
        };
        Ok(Draft {
            before,
            header: Header { ratchet_key, pn, n, pq_epoch, pq_n, incarnation: self.incarnation },
            body: write_body(content, &codewords, self.padding),
            header_key: self.ec.sending.as_ref().unwrap().header_key,
            mk_ec,
            mk_pq,
            ad: self.ad,
        })
    }

    /// Section 10: on a copy, which takes this one's place if the message is good.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        notes::if_good(|| {
            let message = Message::cut(message)?;
            if message.handshake.is_some_and(|part| self.initiator || part != self.handshake_part) {
                return Err(Refusal::UnknownSession);
            }
            let opened = self.open_header(&message).ok_or(Refusal::UnknownSession)?;
            let mut copy = self.clone();
            let content = copy.receive(&message, opened, false)?;
            copy.answered = true;
            *self = copy;
            Ok(content)
        })
    }

    /// A responder's first message: sections 7 and 10.
    pub fn accept(
        identity: &Identity,
        prekeys: &mut Prekeys,
        message: &[u8],
        tape: &mut Tape,
    ) -> Result<Accepted, Refusal> {
        notes::if_good(|| {
            let message = Message::cut(message)?;
            let part = message.handshake.ok_or(Refusal::UnknownSession)?;
            let answer = handshake::respond(identity, prekeys, part)?;
            let mut session = Self::respond(&answer, part);
            let opened = session.open_header(&message).ok_or(Refusal::Unauthentic)?;
            let content = session.receive(&message, opened, true)?;
            session.incarnation = tape.u32();
            match &answer.one_time_prekey_id {
                Some(id) => prekeys.delete(id),
                None => prekeys.signed[answer.signed_prekey].replay_record.push(answer.fingerprint),
            }
            Ok(Accepted { session, content, payload: answer.payload })
        })
    }

    /// Step 2 of section 10: the header, and whose key it was.
    fn open_header(&self, message: &Message<'_>) -> Option<(Under, Header)> {
        let nonce = &message.sealed_body[message.sealed_body.len() - 24..];
        let ad = cat(&[&[SUITE], message.before]);
        self.ec.header_keys().into_iter().find_map(|(under, key)| {
            let header = open_x(&key, nonce, &ad, message.sealed_header)?;
            Some((under, Header::read(&header)))
        })
    }

    /// Steps 3 to 6 of section 10. What it leaves behind when it fails is to be thrown away.
    fn receive(
        &mut self,
        message: &Message<'_>,
        (under, header): (Under, Header),
        first: bool,
    ) -> Result<Vec<u8>, Refusal> {
        let taken = self.ec.receive(under, &header)?;
        if first && (header.pq_epoch != 0 || header.pq_n != header.n) {
            return Err(Refusal::Malformed);
        }
        let mk_pq = self.pq.receive(&header, &taken, &self.ec)?;
        let header_bytes = header.to_bytes();
        let key = body_key(&taken.mk, &mk_pq, &header_bytes);
        let body =
            open(&key, &cat(&[&self.ad, &header_bytes]), message.sealed_body).ok_or(Refusal::Unauthentic)?;
        let (content, codewords) = read_body(&body)?;
        if !taken.is_new {
            notes::note("a skipped EC key is used");
        }
        self.ec.expire();
        self.pq.receive_codewords(&header, &codewords, self.ec.skipped());
        Ok(content)
    }

    /// Rule 2 of section 11: whether this one, which is sent on, yields to another one of which a message of this kind has
    /// been read.
    pub fn yields_to(&self, other: &Self, message: u8) -> bool {
        self.peer == other.peer
            && if !self.initiator || self.answered {
                true
            } else {
                message == kind::INITIAL_MESSAGE && other.id < self.id
            }
    }
}

"""Replays the test vectors with subrosa.py, as both sides, and does a few negative checks of its own.

Every byte that the vectors give is compared: what was made from `random`, what was sent, what was read, and every
intermediate value, by name and in order; a step that fails lists none. Any difference ends the program with a
traceback.
"""

import copy
import hashlib
import json
import pathlib

import subrosa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from subrosa import (
    AEAD, CT1, CT2, HEADER_TYPE, KIND_INITIAL, KIND_RATCHET, NONE, SUITE, VECTOR, VECTOR_ACK, XAEAD, Braid, Bundle,
    Codewords, DeviceList, Identity, Message, Payload, Prekeys, PrivatePrekey, ProtocolError, Sessions, accept, body_key,
    ed25519_public, encode_body, identity_from_text, identity_text, initiate, u8, u32,
)  # fmt: skip

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
REQUIRED = {"attachment", "device", "epochs", "handshake_last_resort", "handshake_one_time", "padding", "refusals", "roster", "skips", "turns", "verify"}
FEWEST_FILES = 11
FEWEST_EPOCHS = {"epochs": 5, "turns": 1}

COMMON = {"who", "op", "random", "secrets"}
FIELDS = {
    "identity": [{"identity_key", "text", "binding"}],
    "prekeys": [{"now", "one_time"}],
    "bundle": [{"bundle"}],
    "initiate": [{"peer", "payload", "session_id"}],
    "encrypt": [{"content", "padding", "message"}],
    "lose": [{"count"}],
    "accept": [{"message", "content", "payload", "peer_identity", "session_id"}, {"message", "error"}],
    "decrypt": [{"message", "content"}, {"message", "error"}],
    "read_bundle": [{"what", "bundle", "error"}],
    "accept_bytes": [{"what", "message", "error"}],
    "decrypt_bytes": [{"what", "message", "error"}],
    "reopen": [set()],
    "snapshot": [set()],
    "restore": [set()],
    "root": [{"user_id", "text"}],
    "device": [{"user", "device_id", "address", "claim"}],
    "list": [{"previous", "devices", "issued", "version", "list", "hash"}],
    "compare": [{"list", "known", "succession"}],
    "read_list": [{"list", "error"}],
    "payload": [{"user", "list", "recipient", "payload"}],
    "read_payload": [{"payload", "error"}],
    "content": [{"own_list", "peer_list", "ack", "asks", "gone", "lists", "certificate", "body", "content"}],
    "read_content": [{"content", "error"}],
    "contacts": [{"contacts", "encoded"}],
    "read_contacts": [{"encoded", "error"}],
    "link_code": [{"code"}],
    "link_offer": [{"offer", "keys"}],
    "link_reply": [{"user", "reply"}],
    "link_grant": [{"device", "list", "encoded", "grant"}],
    "recovery_key": [{"text"}],
    "backup": [{
        "device", "list", "padding", "resending", "encoded", "passphrase", "parameters", "key", "commitment", "backup",
    }],
    "read_backup": [{"backup", "passphrase", "error"}],
    "safety_number": [{"peer", "digits", "scannable", "text"}],
    "scan": [{"peer", "code", "result"}, {"peer", "code", "error"}],
    "sas": [{"peer", "commitment", "answer", "reveal", "emoji", "numbers"}],
    "read_sas": [{"peer", "step", "message", "error"}],
    "attachment": [{"size", "media_type", "file_name", "thumbnail", "descriptor", "file_len", "file"}],
}
SECRETS = {
    "prekey private key", "prekey KEM seed",
    "EK_A private", "KEM coins", "h1", "DH(EK_A, IK_B)", "DH(EK_A, SPK_B)", "DH(EK_A, OPK_B)", "ss", "ck1",
    "identity key", "h2", "DH(IK_A, SPK_B)", "ck2", "EC root key", "PQ root secret", "header key A->B",
    "next header key B->A", "session id", "PQ root key", "PQ chain key A->B", "PQ chain key B->A",
    "ratchet private key", "DH", "EC chain key", "next header key", "EC message key", "PQ message key",
    "body key", "header key", "header", "authenticator root", "authenticator MAC key", "KEM seed",
    "KEM header", "KEM header MAC", "KEM shared secret", "PQ epoch key", "KEM ct1", "KEM ct2", "KEM ciphertext MAC",
    "attachment keys",
}  # fmt: skip


class Disagreement(Exception):
    pass


def same(what, ours, theirs):
    if ours != theirs:
        raise Disagreement(f"{what}:\n  ours   {ours}\n  theirs {theirs}")


class Recorded:
    """A generator that returns what the vector recorded."""

    def __init__(self, text):
        self.left = bytes.fromhex(text)

    def __call__(self, n):
        if len(self.left) < n:
            raise Disagreement(f"{n} random bytes wanted, {len(self.left)} recorded")
        taken, self.left = self.left[:n], self.left[n:]
        return taken


def seeded(seed):
    """A generator for checks of our own: the same in every run."""
    count = 0

    def rng(n):
        nonlocal count
        count += 1
        return hashlib.shake_256(seed.encode() + u32(count)).digest(n)

    return rng


# ---------------------------------------------------------------------------------------------------------------
# Refusals

checks = 0


def refused(names, what, action, *state):
    """`action` must raise a ProtocolError with one of the names, and leave every part of `state` as it was."""
    global checks
    checks += 1
    before = copy.deepcopy(state)
    try:
        action()
    except ProtocolError as e:
        if e.name not in names.split():
            raise Disagreement(f"{what}: {e.name}, expected {names}") from e
    else:
        raise Disagreement(f"{what}: accepted, expected {names}")
    if state != before:
        raise Disagreement(f"{what}: state changed")


def holds(what, condition):
    global checks
    checks += 1
    if not condition:
        raise Disagreement(what)


def chooser(rng):
    """A function that draws a number below n."""
    return lambda n: int.from_bytes(rng(4), "big") % n


def flipped(b, at, mask=0x01):
    at %= len(b)
    return b[:at] + bytes([b[at] ^ mask]) + b[at + 1 :]


def damaged(message, fresh):
    """(description, expected errors, damaged message). `fresh`: for the handshake, not for a session."""
    m = Message.decode(message)
    lost = "Unauthentic" if fresh else "UnknownSession"  # a header that does not open
    body = len(message) - len(m.sealed_body)
    header = body - len(m.sealed_header)

    yield "empty", "Malformed", b""
    yield "kind", "Malformed", flipped(message, 0, 0x80)
    yield "kind of a bundle", "Malformed", b"\x31" + message[1:]
    yield "version", "UnsupportedVersion", flipped(message, 0)
    yield "header, first byte", lost, flipped(message, header)
    yield "header, tag", lost, flipped(message, body - 1)
    yield "body, first byte", "Unauthentic", flipped(message, body)
    yield "body, last byte that is not in the nonce", "Unauthentic", flipped(message, -25)
    yield "body, first byte of the nonce", lost, flipped(message, -24)
    yield "body, last byte", lost, flipped(message, -1, 0x80)
    yield "a byte cut off", f"{lost} Malformed", message[:-1]
    yield "half", f"{lost} Malformed", message[: len(message) // 2]
    yield "too short by one", "Malformed", message[: body + 31]
    yield "only the kind", "Malformed", message[:1]
    yield "a zero behind", lost, message + b"\0"
    yield "twice: the last 24 bytes are right", "Unauthentic", message + message
    if m.handshake:
        stripped = u8(KIND_RATCHET) + message[header:]
        yield "handshake part removed", "UnknownSession", stripped
        yield "flag", "Malformed", flipped(message, 9, 0x80)
        yield "other flag", "UnknownPreKey Unauthentic Malformed InvalidKey UnknownSession", flipped(message, 9)
        ek_a = 10 if m.handshake.one_time_id is None else 18
        ct, length = ek_a + 32, ek_a + 32 + 1568
        c = length + 2
        yield "payload length, high", "Malformed", flipped(message, length, 0x80)
        yield "payload length, low", f"{lost} Malformed", flipped(message, length + 1)
        if ek_a == 18:
            yield "one-time prekey id", "UnknownPreKey" if fresh else lost, flipped(message, 17)
        yield "signed prekey id", "UnknownPreKey" if fresh else lost, flipped(message, 1)
        yield "EK_A", lost, flipped(message, ek_a)
        not_canonical = flipped(message, ek_a + 31, 0x80)
        yield "EK_A, bit 255", "InvalidKey" if fresh else lost, not_canonical
        yield "EK_A, bit 255, and signed prekey id", "InvalidKey" if fresh else lost, flipped(not_canonical, 1)
        small = message[:ek_a] + bytes(32) + message[ct:]
        yield "EK_A of small order", "InvalidKey" if fresh else lost, small
        yield "EK_A of small order, and signed prekey id", "InvalidKey" if fresh else lost, flipped(small, 1)
        yield "CT, first byte", lost, flipped(message, ct)
        yield "CT, last byte", lost, flipped(message, length - 1)
        yield "c, identity", lost, flipped(message, c + 70)
        yield "c, tag", lost, flipped(message, header - 1)
    else:
        yield "as an initial message", "Malformed", u8(KIND_INITIAL) + message[1:]


# ---------------------------------------------------------------------------------------------------------------
# Replay of the vectors


class Replay:
    def __init__(self):
        self.identities, self.prekeys, self.bundles, self.now = {}, {}, {}, None
        self.sessions, self.snapshots, self.messages = {}, {}, []
        self.roots = {}  # (session id, epoch): PQ root
        self.users, self.claims, self.lists = {}, {}, []  # root seeds; claims by device

    def step(self, s):
        op, who = s["op"], s["who"]
        if op not in FIELDS:
            raise Disagreement(f"unknown op {op}")
        if set(s) - COMMON not in FIELDS[op] or not COMMON <= set(s):
            raise Disagreement(f"unexpected fields {sorted(s)}")
        for name, _ in s["secrets"]:
            if name not in SECRETS:
                raise Disagreement(f"unknown secret {name}")
        rng, trace = Recorded(s["random"]), []
        getattr(self, "op_" + op)(s, who, rng, trace)
        same("random bytes left", rng.left.hex(), "")
        same("names of secrets", [n for n, _ in trace], [n for n, _ in s["secrets"]])
        for (name, ours), (_, theirs) in zip(trace, s["secrets"]):
            same(name, ours, theirs)

    def op_identity(self, s, who, rng, trace):
        i = self.identities[who] = Identity.generate(rng)
        same("identity key", i.key.hex(), s["identity_key"])
        same("text", identity_text(i.key), s["text"])
        same("binding", i.binding.hex(), s["binding"])
        same("identity key of text", identity_from_text(s["text"]), i.key)
        same("identity key of upper-case text", identity_from_text(s["text"].upper()), i.key)
        if not subrosa.binding_is_valid(i.key, i.binding):
            raise Disagreement("binding does not verify")

    def op_prekeys(self, s, who, rng, trace):
        self.now = s["now"]
        self.prekeys[who] = Prekeys.generate(self.identities[who], rng, s["now"], s["one_time"], trace)

    def op_bundle(self, s, who, rng, trace):
        ours = self.prekeys[who].bundle(self.identities[who]).encode()
        same("bundle", ours.hex(), s["bundle"])
        self.bundles[who] = bytes.fromhex(s["bundle"])
        Bundle.decode(self.bundles[who]).verify(self.now)

    def op_initiate(self, s, who, rng, trace):
        bundle = Bundle.decode(self.bundles[s["peer"]])
        session = initiate(self.identities[who], bundle, bytes.fromhex(s["payload"]), self.now, rng, trace)
        same("peer", session.peer, self.identities[s["peer"]].key)
        self.start(s, who, session)

    def start(self, s, who, session):
        same("session id", session.id.hex(), s["session_id"])
        self.sessions[who] = session

    def op_encrypt(self, s, who, rng, trace):
        content = bytes.fromhex(s["content"])
        message = self.sessions[who].encrypt(content, s["padding"], rng, trace)
        same("message", message.hex(), s["message"])
        self.messages.append(bytes.fromhex(s["message"]))
        # Nobody reads his own messages.
        session = self.sessions[who]
        refused("UnknownSession", "own message", lambda: session.decrypt(message, []), session)
        self.agree(session)

    def op_lose(self, s, who, rng, trace):
        self.sessions[who].lose(s["count"], rng)

    def op_accept(self, s, who, rng, trace):
        message, identity, prekeys = self.messages[s["message"]], self.identities[who], self.prekeys[who]

        def none(n):
            raise Disagreement("random bytes drawn for a bad message")

        if "error" in s:
            session = self.sessions.get(who)
            action = lambda: accept(identity, prekeys, message, none, [])  # noqa: E731
            refused(s["error"], "accept", action, prekeys, session)
            return
        for what, names, bad in damaged(message, fresh=True):
            refused(names, f"accept, {what}", lambda: accept(identity, prekeys, bad, none, []), prekeys)
        session, content, payload = accept(identity, prekeys, message, rng, trace)
        same("content", content.hex(), s["content"])
        same("payload", payload.hex(), s["payload"])
        same("peer identity", session.peer.hex(), s["peer_identity"])
        self.start(s, who, session)
        again = "UnknownPreKey" if Message.decode(message).handshake.one_time_id else "Replayed"
        refused(again, "accept, again", lambda: accept(identity, prekeys, message, none, []), prekeys)

    def op_decrypt(self, s, who, rng, trace):
        message, session = self.messages[s["message"]], self.sessions[who]
        if "error" in s:
            refused(s["error"], "decrypt", lambda: session.decrypt(message, []), session)
            return
        for what, names, bad in damaged(message, fresh=False):
            refused(names, f"decrypt, {what}", lambda: session.decrypt(bad, []), session)
        same("content", session.decrypt(message, trace).hex(), s["content"])
        self.agree(session)
        # UnknownSession if its chain had no more keys, TooOld if the rest of its chain was abandoned.
        names = "Duplicate UnknownSession" + " TooOld" * any(c.forgotten == c.length for c in session.closed)
        refused(names, "decrypt, again", lambda: session.decrypt(message, []), session)

    def op_read_bundle(self, s, who, rng, trace):
        refused(s["error"], s["what"], lambda: Bundle.decode(bytes.fromhex(s["bundle"])).verify(self.now))

    def op_accept_bytes(self, s, who, rng, trace):
        identity, prekeys, message = self.identities[who], self.prekeys[who], bytes.fromhex(s["message"])
        refused(s["error"], s["what"], lambda: accept(identity, prekeys, message, rng, []), prekeys)

    def op_decrypt_bytes(self, s, who, rng, trace):
        session, message = self.sessions[who], bytes.fromhex(s["message"])
        refused(s["error"], s["what"], lambda: session.decrypt(message, []), session)

    def agree(self, session):
        """Both sides have one PQ root in an epoch, and each names the epoch that section 8.3 says."""
        root = self.roots.setdefault((session.id, session.pq.newest), session.pq.root)
        same("PQ root of an epoch", session.pq.root.hex(), root.hex())
        same("sending epoch", session.pq.sending_epoch, session.pq.braid.epoch - 1)

    def op_reopen(self, s, who, rng, trace):
        self.sessions[who].reopen(rng)

    def op_snapshot(self, s, who, rng, trace):
        self.snapshots[who] = self.sessions[who].clone()

    def op_restore(self, s, who, rng, trace):
        self.sessions[who] = self.snapshots[who].clone()
        self.sessions[who].reopen(rng)

    def op_root(self, s, who, rng, trace):
        seed = self.users[who] = rng(32)
        user = ed25519_public(seed)
        same("user id", user.hex(), s["user_id"])
        same("text", subrosa.user_text(user), s["text"])
        same("user id of text", subrosa.user_from_text(s["text"]), user)
        same("user id of upper-case text", subrosa.user_from_text(s["text"].upper()), user)

    def op_device(self, s, who, rng, trace):
        identity, user = self.identities[who], ed25519_public(self.users[s["user"]])
        same("device id", subrosa.device_id(identity.key).hex(), s["device_id"])
        same("address", subrosa.address_text(user, subrosa.device_id(identity.key)), s["address"])
        self.claims[who] = identity.sign(subrosa.claim_message(user, identity.key))
        same("claim", self.claims[who].hex(), s["claim"])

    def op_list(self, s, who, rng, trace):
        previous = None if s["previous"] is None else self.lists[s["previous"]]
        entries = [(self.identities[d].key, self.claims[d]) for d in s["devices"]]
        ours = DeviceList.sign(self.users[who], previous, entries, s["issued"])
        same("list", ours.encode().hex(), s["list"])
        theirs = DeviceList.decode(bytes.fromhex(s["list"]))
        same("list read", theirs, ours)
        same("hash", theirs.hash.hex(), s["hash"])
        same("version", theirs.version, s["version"])
        self.lists.append(theirs)
        for at in range(len(ours.encode())):
            bad = flipped(ours.encode(), at)
            names = "Malformed InvalidKey InvalidSignature UnsupportedVersion"
            refused(names, f"list, byte {at}", lambda: DeviceList.decode(bad))

    def op_compare(self, s, who, rng, trace):
        known = self.lists[s["known"]]
        same("succession", subrosa.succession(self.lists[s["list"]], known.version, known.hash), s["succession"])

    def op_read_list(self, s, who, rng, trace):
        refused(s["error"], "list", lambda: DeviceList.decode(bytes.fromhex(s["list"])))

    def op_payload(self, s, who, rng, trace):
        ik, recipient = self.identities[who].key, ed25519_public(self.users[s["recipient"]])
        ours = Payload.make(self.users[s["user"]], ik, self.claims[who], self.lists[s["list"]], recipient)
        same("payload", ours.encode().hex(), s["payload"])
        theirs = Payload.decode(bytes.fromhex(s["payload"]))
        same("payload read", theirs, ours)
        theirs.verify(ik)

    def op_read_payload(self, s, who, rng, trace):
        action = lambda: Payload.decode(bytes.fromhex(s["payload"])).verify(self.identities[who].key)  # noqa: E731
        if s["error"] is None:
            action()
        else:
            refused(s["error"], "payload", action)

    def op_content(self, s, who, rng, trace):
        place = lambda p: subrosa.Place(bytes.fromhex(p[0]), p[1])  # noqa: E731
        named = lambda n: (n[0], bytes.fromhex(n[1]))  # noqa: E731
        b = s["body"]
        if b is not None:
            same("fields of a body", sorted(b), ["bytes", "id", "kind", "place", "resent"])
            id, text = bytes.fromhex(b["id"]), bytes.fromhex(b["bytes"])
            b = subrosa.Body(place(b["place"]), id, b["resent"], b["kind"], text)
        ours = subrosa.Content(
            named(s["own_list"]), named(s["peer_list"]), s["ack"] and place(s["ack"]),
            [place(p) for p in s["asks"]], [place(p) for p in s["gone"]], [bytes.fromhex(b) for b in s["lists"]],
            s["certificate"] and bytes.fromhex(s["certificate"]), b,
        )  # fmt: skip
        content = bytes.fromhex(s["content"])
        same("content", ours.encode().hex(), s["content"])
        same("content read", subrosa.Content.decode(content), ours)
        shortest = len(content) - (len(b.bytes) if b else 0)
        for n in range(shortest):
            refused("Malformed", f"content, {n} bytes", lambda: subrosa.Content.decode(content[:n]))
        for listed in ours.lists:
            DeviceList.decode(listed)
        if ours.certificate:
            Payload.decode(ours.certificate)
        if b and b.kind in (1, 2, 3):
            read = subrosa.decode_body_of(b.kind, b.bytes)
            holds("a body of a known kind reads", read is not None)
            if b.kind != subrosa.TRUST_BODY:
                user, text = (b"", read) if b.kind == subrosa.MESSAGE_BODY else read
                same("text of a body", (user + subrosa.encode_text(*text)).hex(), b.bytes.hex())
                for n in range(len(b.bytes) - len(text[1])):
                    cut = b.bytes[:n]
                    refused("Malformed", f"body, {n} bytes", lambda: subrosa.decode_body_of(b.kind, cut))

    def op_read_content(self, s, who, rng, trace):
        refused(s["error"], "content", lambda: subrosa.Content.decode(bytes.fromhex(s["content"])))

    def op_contacts(self, s, who, rng, trace):
        for c in s["contacts"]:
            same("fields of a contact", sorted(c), ["hash", "list", "trust", "user", "version"])
        value = lambda v: bytes.fromhex(v) if isinstance(v, str) else v  # noqa: E731
        ours = [subrosa.Contact(**{name: value(v) for name, v in c.items()}) for c in s["contacts"]]
        encoded = bytes.fromhex(s["encoded"])
        same("contacts", subrosa.Contact.encode_all(ours).hex(), s["encoded"])
        same("contacts read", subrosa.Contact.decode_all(encoded), sorted(ours, key=lambda c: c.user))
        for n in range(len(encoded)):
            refused("Malformed", f"contacts, {n} bytes", lambda: subrosa.Contact.decode_all(encoded[:n]))

    def op_read_contacts(self, s, who, rng, trace):
        refused(s["error"], "contacts", lambda: subrosa.Contact.decode_all(bytes.fromhex(s["encoded"])))

    def op_link_code(self, s, who, rng, trace):
        self.code, self.secret = s["code"], rng(32)
        ik = self.identities[who].key
        same("code", subrosa.link_code(ik, self.secret), self.code)
        for text in (self.code, self.code.upper()):
            same("code read", subrosa.read_link_code(text), (ik, self.secret))
        refused("BadLink", "code, mixed case", lambda: subrosa.read_link_code(self.code.replace("srlink", "SRLINK")))
        refused("BadLink", "code, cut", lambda: subrosa.read_link_code(self.code[:-1]))

    def op_link_offer(self, s, who, rng, trace):
        self.code_key, secret = subrosa.read_link_code(self.code)
        user = ed25519_public(self.users[who])
        self.offer, self.link_keys = subrosa.make_offer(rng(32), self.code_key, secret, user, rng(24))
        same("offer", self.offer.hex(), s["offer"])
        same("keys of a link", [key.hex() for key in self.link_keys], s["keys"])

    def op_link_reply(self, s, who, rng, trace):
        identity, user = self.identities[who], ed25519_public(self.users[s["user"]])
        same("offer read", subrosa.open_offer(identity, self.secret, self.offer), (user, self.link_keys))
        self.spoilt(self.offer, lambda b: subrosa.open_offer(identity, self.secret, b))
        reply = subrosa.make_reply(self.link_keys, identity.key, self.claims[who], rng(24))
        same("reply", reply.hex(), s["reply"])
        read = lambda b: subrosa.open_reply(self.link_keys, self.code_key, user, b)  # noqa: E731
        same("reply read", read(reply), self.claims[who])
        self.spoilt(reply, read)

    def op_link_grant(self, s, who, rng, trace):
        ik, user, contacts = self.identities[s["device"]].key, ed25519_public(self.users[who]), bytes.fromhex(s["encoded"])
        listed = self.lists[s["list"]]
        payload = Payload.make(self.users[who], ik, self.claims[s["device"]], listed, user)
        grant = subrosa.make_grant(self.link_keys, payload, listed, contacts, rng(24))
        same("grant", grant.hex(), s["grant"])
        read = lambda b: subrosa.open_grant(self.link_keys, ik, user, b)  # noqa: E731
        same("grant read", read(grant), (payload, listed, subrosa.Contact.decode_all(contacts)))
        self.spoilt(grant, read)

    def spoilt(self, good, read):
        for at in range(len(good)):
            name = "UnsupportedVersion" if at == 0 else "BadLink"
            refused(name, f"link, byte {at}", lambda: read(flipped(good, at)))
            refused("BadLink", f"link, {at} bytes", lambda: read(good[:at]))
        refused("BadLink", "link, a byte more", lambda: read(good + b"\0"))

    def op_recovery_key(self, s, who, rng, trace):
        self.recovery = rng(32)
        same("recovery key", subrosa.recovery_text(self.recovery), s["text"])
        for text in (s["text"], s["text"].upper()):
            same("recovery key read", subrosa.recovery_from_text(text), self.recovery)

    def op_backup(self, s, who, rng, trace):
        device, listed = subrosa.device_id(self.identities[s["device"]].key), self.lists[s["list"]].encode()
        contacts, parameters = bytes.fromhex(s["encoded"]), s["parameters"] and bytes.fromhex(s["parameters"])
        ours = subrosa.Backup(self.users[who], device, listed, s["padding"], s["resending"], contacts)
        made = ours.seal(s["passphrase"], parameters, self.recovery, rng(24))
        same("backup, key, commitment", [b.hex() for b in made], [s["backup"], s["key"], s["commitment"]])
        same("backup read", subrosa.Backup.open(made[0], s["passphrase"], self.recovery), ours)

    def op_read_backup(self, s, who, rng, trace):
        action = lambda: subrosa.Backup.open(bytes.fromhex(s["backup"]), s["passphrase"], self.recovery)  # noqa: E731
        if s["error"] is None:
            action()
        else:
            refused(s["error"], "backup", action)

    def pair(self, s, who):
        return ed25519_public(self.users[who]), ed25519_public(self.users[s["peer"]])

    def op_safety_number(self, s, who, rng, trace):
        user, peer = self.pair(s, who)
        same("digits", subrosa.safety_number(user, peer), s["digits"])
        same("digits of the other side", subrosa.safety_number(peer, user), s["digits"])
        same("code", subrosa.scannable(user, peer).hex(), s["scannable"])
        same("code as text", subrosa.scannable_text(user, peer), s["text"])
        same("code read", subrosa.code_bytes(s["text"].encode()).hex(), s["scannable"])
        refused("SameUser", "number of one user", lambda: subrosa.safety_number(user, user))

    def op_scan(self, s, who, rng, trace):
        user, peer = self.pair(s, who)
        action = lambda: subrosa.scan(user, peer, bytes.fromhex(s["code"]))  # noqa: E731
        if "error" in s:
            refused(s["error"], "code", action)
        else:
            same("what a code says", action(), s["result"])

    def op_sas(self, s, who, rng, trace):
        user, peer = self.pair(s, who)
        initiator = subrosa.SasInitiator(user, peer, rng)
        responder = subrosa.SasResponder(peer, user, initiator.message, rng)
        code, reveal = initiator.receive(responder.message)
        ours = [b.hex() for b in (initiator.message, responder.message, reveal)]
        same("messages", ours, [s["commitment"], s["answer"], s["reveal"]])
        for seen in (code, responder.receive(reveal)):
            same("emoji and numbers", seen, (s["emoji"], s["numbers"]))
        for at in range(2, len(reveal)):
            refused("Unauthentic", f"reveal, byte {at}", lambda: responder.receive(flipped(reveal, at)))

    def op_read_sas(self, s, who, rng, trace):
        (user, peer), message = self.pair(s, who), bytes.fromhex(s["message"])
        if s["step"] == 1:
            action = lambda: subrosa.SasResponder(peer, user, message, None)  # noqa: E731
        else:
            side = initiator = subrosa.SasInitiator(user, peer, rng)
            if s["step"] == 3:
                side = subrosa.SasResponder(peer, user, initiator.message, rng)
            action = lambda: side.receive(message)  # noqa: E731
        refused(s["error"], "message of a SAS", action)

    def op_attachment(self, s, who, rng, trace):
        content = bytes(i % 251 for i in range(s["size"]))
        described = s["media_type"], s["file_name"], bytes.fromhex(s["thumbnail"])
        file, ours = subrosa.seal_attachment(content, rng, trace, *described)
        same("descriptor", ours.encode().hex(), s["descriptor"])
        same("length of the file", len(file), s["file_len"])
        if s["file"] is not None:
            same("file", file.hex(), s["file"])
        theirs = subrosa.Descriptor.decode(bytes.fromhex(s["descriptor"]))
        same("descriptor read", theirs, ours)
        same("content", subrosa.open_attachment(file, theirs), content)


def replay(path):
    def unique(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise Disagreement(f"{path.name}: a name twice in one object")
        return dict(pairs)

    file = json.loads(path.read_text(), object_pairs_hook=unique)
    same(f"{path.name}, fields", sorted(file), ["description", "format", "steps"])
    same(f"{path.name}, format", file["format"], 1)
    if not file["steps"]:
        raise Disagreement(f"{path.name}: no steps")
    r, secrets, fewest = Replay(), 0, FEWEST_EPOCHS.get(path.stem, 0)
    for i, s in enumerate(file["steps"]):
        try:
            r.step(s)
        except Exception as e:
            raise Disagreement(f"{path.name}, step {i} ({s.get('who')}: {s.get('op')})") from e
        secrets += len(s["secrets"])
    same(f"{path.name}, epochs", max((s.pq.newest for s in r.sessions.values()), default=0) >= fewest, True)
    print(f"{path.name}: {len(file['steps'])} steps, {len(r.messages)} messages, {secrets} secrets agree")
    return len(file["steps"])


# ---------------------------------------------------------------------------------------------------------------
# Checks of our own

NOW = 1_800_000_000


def people():
    return Identity.generate(seeded("alice")), Identity.generate(seeded("bob")), Identity.generate(seeded("mallory"))


class Pair:
    """Alice and Bob in a session that Bob has answered."""

    def __init__(self, seed):
        self.rng = seeded(seed)
        alice, bob, _ = people()
        prekeys = Prekeys.generate(bob, self.rng, NOW, 0, [])
        self.alice = initiate(alice, prekeys.bundle(bob), b"", NOW, self.rng, [])
        self.bob, content, _ = accept(bob, prekeys, self.send(self.alice, b"one"), self.rng, [])
        holds("first content", content == b"one")
        self.turn()

    def send(self, who, content=b"x", padding="none"):
        return who.encrypt(content, padding, self.rng, [])

    def turn(self):
        """Bob answers, and Alice reads: her next message begins a chain."""
        holds("answer", self.alice.decrypt(self.send(self.bob), []) == b"x")

    def read(self, message, content=b"x"):
        holds("content", self.bob.decrypt(message, []) == content)

    def refuse(self, names, what, message):
        refused(names, what, lambda: self.bob.decrypt(message, []), self.bob)


def advance(chain, n):
    """Use up n keys of a sending chain."""
    chain.skip_to(chain.n + n)


def check_text_form():
    alice, _, _ = people()
    words, text = subrosa.identity_words(alice.key), identity_text(alice.key)
    holds("length of the text form", len(text) == 114)
    x25519 = subrosa.identity_words(alice.key[:63] + b"\xff")
    for what, names, bad in [
        ("empty", "Malformed", ""),
        ("mixed case", "Malformed", text[:20] + text[20:].upper()),
        ("upper-case human-readable part", "Malformed", "SRID" + text[4:]),
        ("Bech32 without m", "Malformed", subrosa.bech32_text(words, constant=1)),
        ("one character changed", "Malformed", text[:30] + ("q" if text[30] != "q" else "p") + text[31:]),
        ("other human-readable part", "Malformed", "srix" + text[4:]),
        ("a word less", "Malformed", subrosa.bech32_text(words[:-1])),
        ("a word more", "Malformed", subrosa.bech32_text(words + [0])),
        ("padding bits", "Malformed", subrosa.bech32_text(words[:-1] + [words[-1] | 1])),
        ("space", "Malformed", text + " "),
        ("X25519 key with bit 255", "InvalidKey", subrosa.bech32_text(x25519)),
    ]:
        refused(names, f"text form, {what}", lambda: identity_from_text(bad))


def check_keys():
    p = subrosa.P25519
    for what, u in [("p", p), ("p + 1", p + 1), ("2^255 - 1", 2**255 - 1), ("9 + 2^255", 9 + 2**255)]:
        key = u.to_bytes(32, "little")
        refused("InvalidKey", f"X25519, {what}", lambda: subrosa.check_x25519_key(key))
    for u in (0, 1, p - 1):
        key = u.to_bytes(32, "little")
        refused("InvalidKey", f"X25519, {u}", lambda: subrosa.X25519(b"\x55" * 32, key))

    small = ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "00" * 31 + "80"]
    small += ["26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"]
    small += ["c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"]
    small += [s[:-2] + f"{int(s[-2:], 16) ^ 0x80:02x}" for s in small[-2:]]
    not_canonical = ["ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f", "01" + "00" * 30 + "80"]
    no_point = ["02" + "00" * 31]
    for y in range(2, 19):  # y + p is below 2^255, too
        if subrosa._ed_large_order(y.to_bytes(32, "little")):
            not_canonical.append((y + p).to_bytes(32, "little").hex())
    holds("large order and not canonical", len(not_canonical) > 3)
    for key in small + not_canonical + no_point:
        refused("InvalidKey", f"Ed25519, {key}", lambda: subrosa.check_ed25519_key(bytes.fromhex(key)))

    # Strict verification. The last signature is good for those who multiply by the cofactor.
    alice, _, _ = people()
    key, m = alice.key[:32], b"message"
    good = alice.sign(m)
    holds("signature", subrosa.ed25519_verify(key, good, m))
    s = int.from_bytes(good[32:], "little") + subrosa.ED_L
    holds("s + L", not subrosa.ed25519_verify(key, good[:32] + s.to_bytes(32, "little"), m))
    digest = hashlib.sha512(alice.ed_seed).digest()
    a = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    torsion = subrosa._ed_decode(bytes.fromhex(small[4]))
    for what, r in [("R of small order", 0), ("R with a part of small order", 12345)]:
        R = ed_encode(subrosa._ed_add(ed_times(r, ED_BASE), torsion))
        h = int.from_bytes(hashlib.sha512(R + key + m).digest(), "little")
        forged = R + ((r + h * a) % subrosa.ED_L).to_bytes(32, "little")
        holds(what, not subrosa.ed25519_verify(key, forged, m))
    # With a part of small order in the key, which is allowed, an R of small order can fulfil the equation.
    mixed = ed_encode(subrosa._ed_add(subrosa._ed_decode(key), torsion))
    subrosa.check_ed25519_key(mixed)
    R, m2 = small_order_signature(mixed, torsion)
    h = int.from_bytes(hashlib.sha512(R + mixed + m2).digest(), "little")
    forged = R + (h * a % subrosa.ED_L).to_bytes(32, "little")
    subrosa.Ed25519PublicKey.from_public_bytes(mixed).verify(forged, m2)  # this is what is forbidden
    holds("R of small order, and the equation", not subrosa.ed25519_verify(mixed, forged, m2))
    R = ed_encode(ed_times(12345, ED_BASE))  # the same without: our own arithmetic is right
    h = int.from_bytes(hashlib.sha512(R + key + m).digest(), "little")
    made = R + ((12345 + h * a) % subrosa.ED_L).to_bytes(32, "little")
    holds("signature by hand", subrosa.ed25519_verify(key, made, m))


ED_BASE = subrosa._ed_decode(bytes.fromhex("58" + "66" * 31))


def ed_times(n, point):
    result = (0, 1)
    while n:
        if n & 1:
            result = subrosa._ed_add(result, point)
        point = subrosa._ed_add(point, point)
        n >>= 1
    return result


def small_order_signature(key, torsion):
    """(R, message) such that R + (h mod L) (key's part of small order) is the neutral point.

    It is not the same for h itself: section 2 says that the hash is reduced.
    """
    for i in range(1000):
        message = u32(i)
        for j in range(8):
            R = ed_times(j, torsion)
            h = int.from_bytes(hashlib.sha512(ed_encode(R) + key + message).digest(), "little")
            if subrosa._ed_add(R, ed_times(h % subrosa.ED_L, torsion)) == (0, 1):
                return ed_encode(R), message
    raise Disagreement("no such message")


def ed_encode(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def check_bundles():
    alice, bob, mallory = people()
    for one_time in (0, 1):
        prekeys = Prekeys.generate(bob, seeded("bundle"), NOW, one_time, [])
        good = prekeys.bundle(bob)
        encoded = good.encode()
        holds("bundle", len(encoded) == (3404 if one_time else 1739))
        holds("bundle", Bundle.decode(encoded) == good)

        def bad(names, what, b, now=NOW):
            refused(names, f"bundle, {what}", lambda: Bundle.decode(b).verify(now))

        end = good.signed.not_after
        Bundle.decode(encoded).verify(end)
        bad("Expired", "expired", encoded, end + 1)
        Bundle.decode(encoded).verify(end - 37 * 86_400)
        bad("NotYetValid", "valid for too long", encoded, end - 37 * 86_400 - 1)
        ed, x = bob.key[:32], bob.key[32:]
        rest = encoded[65:]
        bad("InvalidSignature InvalidKey", "halves swapped", encoded[:1] + x + ed + rest)
        bad("InvalidSignature", "X25519 half of another", encoded[:1] + ed + mallory.key[32:] + rest)
        bad("InvalidSignature", "Ed25519 half of another", encoded[:1] + mallory.key[:32] + x + rest)
        bad("InvalidSignature", "identity of another", encoded[:1] + mallory.key + rest)
        bad("InvalidKey", "Ed25519 half of small order", encoded[:1] + bytes(32) + x + rest)
        bad("InvalidKey", "X25519 half not canonical", flipped(encoded, 64, 0x80))
        bad("Malformed", "empty", b"")
        bad("Malformed", "a byte cut off", encoded[:-1])
        bad("Malformed", "a byte more", encoded + b"\0")
        bad("Malformed", "flag", flipped(encoded, 1738))
        # From front to back.
        bad("InvalidKey", "X25519 half not canonical, and a byte cut off", flipped(encoded[:-1], 64, 0x80))
        bad("Malformed", "cut off before the end of the X25519 half", encoded[:64])
        both = flipped(flipped(encoded, 65), 97, 0x80)
        bad("UnsupportedVersion", "signed prekey's version, and its X25519 key", both)
        bad("InvalidKey", "signed prekey's X25519 key, and the flag", flipped(flipped(encoded, 97, 0x80), 1738, 2))
        bad("Malformed", "flag 2", flipped(encoded, 1738, 0x02 | one_time))
        bad("Malformed", "kind", flipped(encoded, 0, 0x80))
        bad("UnsupportedVersion", "version", flipped(encoded, 0))
        for name, at in [("signed", 65)] + [("one-time", 1739)] * one_time:
            size = 1673 if name == "signed" else 1665
            bad("UnsupportedVersion", f"{name}, version", flipped(encoded, at))
            bad("Malformed", f"{name}, kind", flipped(encoded, at, 0x80))
            bad("InvalidSignature", f"{name}, X25519 key", flipped(encoded, at + 1))
            bad("InvalidKey", f"{name}, X25519 key not canonical", flipped(encoded, at + 32, 0x80))
            bad("InvalidSignature", f"{name}, seed of the matrix", flipped(encoded, at + 33 + 1567))
            coefficient = at + 33 + 300
            modulus = encoded[:coefficient] + b"\x01\x0d" + encoded[coefficient + 2 :]
            bad("InvalidKey", f"{name}, modulus", modulus)
            for i in (-64, -1):
                bad("InvalidSignature", f"{name}, signature", flipped(encoded, at + size + i))
        bad("InvalidSignature", "not_after", flipped(encoded, 1738 - 64 - 1))
        if one_time:
            # A signed prekey's record and a one-time prekey's signature have different labels.
            forged = copy.deepcopy(good)
            record = forged.one_time.record
            forged.one_time.signature = bob.sign(subrosa.L_SIGNED_PREKEY + SUITE + record + bob.key)
            bad("InvalidSignature", "label", forged.encode())
            # Every key comes before every signature.
            modulus = encoded[:2000] + b"\xff" * 3 + encoded[2003:]
            bad("InvalidKey", "signed prekey's signature, one-time prekey's modulus", flipped(modulus, 1737))
        bad("InvalidSignature", "signature, and expired", flipped(encoded, 1737), end + 1)
        too_long = lambda: initiate(alice, good, bytes(513), NOW, seeded("x"), [])  # noqa: E731
        refused("PayloadTooLong", "payload of 513 bytes", too_long)


class Liar:
    """An initiator that claims another identity key or binding than its own."""

    def __init__(self, identity, key, binding):
        self.x_private, self.hedge_secret = identity.x_private, identity.hedge_secret
        self.key, self.binding = key, binding


def check_handshake():
    alice, bob, _ = people()
    rng = seeded("handshake")
    prekeys = Prekeys.generate(bob, rng, NOW, 1, [])
    first = initiate(alice, prekeys.bundle(bob), b"payload", NOW, rng, [])
    second = initiate(alice, prekeys.bundle(bob), b"", NOW, rng, [])
    messages = [s.encrypt(b"hello", "buckets", rng, []) for s in (first, second, first)]

    def bad(names, what, message, keys=prekeys):
        refused(names, what, lambda: accept(bob, keys, message, rng, []), keys)

    # A message of one session has the body of another.
    m0, m1 = Message.decode(messages[0]), Message.decode(messages[1])
    bad("Unauthentic", "bodies exchanged", m0.prefix + m1.sealed_header + m1.sealed_body)

    # An identity that is not the binding's, and some with a key of small order.
    small = alice.key[:32] + bytes(32)
    for what, key, binding in [
        ("binding of another", alice.key, bob.binding),
        ("identity of another", bob.key, alice.binding),
        ("Ed25519 half of small order", bytes(32) + alice.key[32:], alice.binding),
        ("X25519 half of small order", small, alice.sign(subrosa.L_BINDING + SUITE + small)),
    ]:
        liar = Liar(alice, key, binding)
        session = initiate(liar, prekeys.bundle(bob), b"", NOW, rng, [])
        bad("Unauthentic", what, session.encrypt(b"", "none", rng, []))

    # The second message of a handshake may be the first to arrive; the first is then a skipped one.
    session, content, payload = accept(bob, prekeys, messages[2], rng, [])
    holds("content and payload", (content, payload) == (b"hello", b"payload"))
    holds("one-time prekey deleted", not prekeys.one_time)
    holds("late first message", session.decrypt(messages[0], []) == b"hello")
    refused("UnknownSession", "another handshake", lambda: session.decrypt(messages[1], []), session)
    bad("UnknownPreKey", "one-time prekey used", messages[0])

    full = copy.deepcopy(prekeys)
    full.signed[0].replays = {u32(i) for i in range(16383)}
    nearly = copy.deepcopy(full)
    accept(bob, nearly, messages[1], rng, [])
    full.signed[0].replays.add(b"the last")
    bad("ReplayRecordFull", "replay record full", messages[1], full)
    accept(bob, prekeys, messages[1], rng, [])
    bad("Replayed", "replay", messages[1])

    prekeys.rotate(bob, rng, NOW + 7 * subrosa.DAY)
    bad("Replayed", "replay after rotation", messages[1])
    prekeys.rotate(bob, rng, NOW + 37 * subrosa.DAY - 1)
    bad("Replayed", "signed prekey kept", messages[1])
    prekeys.rotate(bob, rng, NOW + 37 * subrosa.DAY)
    bad("UnknownPreKey", "signed prekey deleted", messages[1])

    # Made in the future: it counts as made now. And no more than 16 are kept.
    ahead = Prekeys.generate(bob, rng, NOW + 1_000 * subrosa.DAY, 0, [])
    made = ahead.signed[0]
    for day, kept in ((0, True), (36, True), (37, False)):
        ahead.rotate(bob, rng, NOW + day * subrosa.DAY)
        holds("made in the future", (made in ahead.signed) == kept)
    for _ in range(20):
        ahead.rotate(bob, rng, NOW)
    holds("16 are kept", len(ahead.signed) == 16)

    # The same generator, another identity: other keys.
    ours, theirs = (PrivatePrekey.generate(who, lambda n: bytes(n), []) for who in (alice, bob))
    holds("hedged", ours.x_private != theirs.x_private and ours.kem_seed != theirs.kem_seed)


def check_first_message():
    """Header fields of a first message by somebody who does not keep to the rules."""
    alice, bob, _ = people()
    rng = seeded("first message")
    prekeys = Prekeys.generate(bob, rng, NOW, 0, [])
    session = initiate(alice, prekeys.bundle(bob), b"", NOW, rng, [])
    session.encrypt(b"lost", "none", rng, [])
    handshake = u8(KIND_INITIAL) + session.handshake
    for names, changes in [
        ("Malformed", {"n": 0}),
        ("Malformed", {"pq_n": 0}),
        ("Malformed", {"pq_n": 200_000}),
        ("Malformed", {"n": 25_000, "pq_n": 200_000}),
        ("Malformed", {"pq_epoch": 1}),
        ("TooFarAhead", {"n": 25_001, "pq_n": 0}),
        ("TooFarAhead", {"n": 25_001, "pq_n": 25_001, "pq_epoch": 1}),
        ("InvalidKey", {"ratchet_key": bytes(32), "pq_n": 9}),
        ("InvalidKey", {"ratchet_key": bytes(32), "n": 25_001}),
        ("Unauthentic", {"n": 3, "pq_n": 3}),
    ]:
        bad = forge(session, prefix=handshake, **changes)
        refused(names, f"first message, {changes}", lambda: accept(bob, prekeys, bad, rng, []), prekeys)
    accept(bob, prekeys, forge(session, prefix=handshake), rng, [])


class Side:
    """One of two people with all sessions that he has with the other."""

    def __init__(self, identity, seed):
        self.identity, self.rng, self.sessions = identity, seeded(seed), Sessions()
        self.prekeys = Prekeys.generate(identity, self.rng, NOW, 0, [])

    def initiate(self, peer):
        bundle = peer.prekeys.bundle(peer.identity)
        session = initiate(self.identity, bundle, b"", NOW, self.rng, [])
        self.sessions.initiated(session)
        return session

    def send(self):
        return self.sessions.sent_on.encrypt(b"x", "none", self.rng, [])

    def read(self, message):
        accept_new = lambda m: accept(self.identity, self.prekeys, m, self.rng, [])  # noqa: E731
        holds("content", self.sessions.receive(message, accept_new) == b"x")
        return self.sessions.sent_on.id


def check_sessions():
    for swapped in (False, True):  # once with the lower session id here, once there
        alice, bob, _ = people()

        def begin():
            a, b = Side(alice, "alice's sessions"), Side(bob, "bob's sessions")
            ids = a.initiate(b).id, b.initiate(a).id
            return ((b, a) if swapped else (a, b)) + (min(ids),)

        # Both at once: the lower one on both sides. The other stays for receiving.
        a, b, low = begin()
        from_a, from_b, late = a.send(), b.send(), b.send()
        holds("both at once", b.read(from_a) == a.read(from_b) == low)
        holds("an initial message does not change it", a.read(late) == low)
        holds("both at once, used", b.read(a.send()) == a.read(b.send()) == low)
        holds("both kept", len(a.sessions.list) == len(b.sessions.list) == 2)

        # B's first message is held back until B's answer on A's session was read.
        a, b, low = begin()
        from_a, from_b = a.send(), b.send()
        b.read(from_a)
        answer = b.send()
        if answer[0] == KIND_RATCHET:
            a.read(answer)
            held = a.read(from_b)
            holds("sides differ", held != b.sessions.sent_on.id == low)
            holds("they meet", b.read(a.send()) == held)
        else:
            held = a.read(from_b)
            holds("the answer is an initial message of B's own session", a.read(answer) == held == low)
        holds("they stay", a.read(b.send()) == b.read(a.send()) == held)

    # Not at once: the session accepted last. The old one still reads.
    a, b = Side(alice, "alice's sessions"), Side(bob, "bob's sessions")
    old = a.initiate(b).id
    first = a.send()
    holds("first session", b.read(first) == a.read(b.send()) == old)
    in_old, damaged_in_old = a.send(), flipped(a.send(), -25)
    new = a.initiate(b).id
    holds("accepted last", b.read(a.send()) == new != old)
    before = copy.deepcopy(b.sessions)
    # The search ends with any result but UnknownSession, and goes on to section 7 with that.
    refused("Unauthentic", "body, in the older session", lambda: b.read(damaged_in_old))
    refused("Replayed", "header of an initial message", lambda: b.read(flipped(first, -24)))
    refused("UnknownSession", "header of a ratchet message", lambda: b.read(flipped(in_old, -24)))
    holds("sessions unchanged", b.sessions == before)
    holds("a ratchet message changes it", b.read(in_old) == old)
    refused("Duplicate", "a duplicate", lambda: b.read(in_old))

    # Begun anew. Before the answer, ratchet messages of the old session change nothing; after it they do.
    lower = set()
    for i in range(8):
        a, b = Side(alice, f"alice's sessions {i}"), Side(bob, f"bob's sessions {i}")
        old = a.initiate(b).id
        holds("old session", b.read(a.send()) == a.read(b.send()) == old)
        under_way, late = b.send(), b.send()
        new = a.initiate(b).id
        holds("not yet answered", a.read(under_way) == new)
        holds("answered", b.read(a.send()) == a.read(b.send()) == new)
        holds("a late ratchet message changes it", a.read(late) == old)
        holds("they meet in the old one", b.read(a.send()) == a.read(b.send()) == old)
        lower.add(new < old)
    holds("once with the lower session id, once with the higher", len(lower) == 2)

    # Given up: the same, but the old one is only read.
    a, b = Side(alice, "alice's sessions"), Side(bob, "bob's sessions")
    old = a.initiate(b)
    holds("old session", b.read(a.send()) == a.read(b.send()) == old.id)
    late = b.send()
    a.sessions.give_up(old)
    new = a.initiate(b).id
    holds("answered", b.read(a.send()) == a.read(b.send()) == new)
    holds("given up", a.read(late) == new)

    # A late initial message of an accepted session, to one who has initiated nothing.
    a, b = Side(alice, "alice's sessions"), Side(bob, "bob's sessions")
    old = a.initiate(b).id
    first, late = a.send(), a.send()
    new = a.initiate(b).id
    holds("accepted one after the other", (b.read(first), b.read(a.send())) == (old, new))
    holds("a late initial message changes it", late[0] == KIND_INITIAL and b.read(late) == old)
    holds("the answer to it does not", a.read(b.send()) == new)
    holds("they meet in the new one", b.read(a.send()) == a.read(b.send()) == new)

    # The same, to one who has initiated, and is not answered: the lower one.
    lower = set()
    for i in range(8):
        a, b = Side(alice, f"alice's sessions {i}"), Side(bob, f"bob's sessions {i}")
        accepted = a.initiate(b).id
        first, late = a.send(), a.send()
        holds("accepted", b.read(first) == accepted)
        own = b.initiate(a).id
        holds("initiated", b.sessions.sent_on.id == own)
        holds("the lower one", b.read(late) == min(own, accepted))
        holds("the lower one there", a.read(b.send()) == min(own, accepted))
        lower.add(own < accepted)
    holds("once with the lower session id here, once there", len(lower) == 2)


class Sketch:
    """A session with nothing in it but what section 11 looks at. A message is its kind and the session's id."""

    def __init__(self, session_id, initiator):
        self.id, self.initiator, self.answered = session_id, initiator, not initiator

    def encrypt(self):
        return u8(KIND_RATCHET if self.answered else KIND_INITIAL) + self.id

    def decrypt(self, message, _):
        if message[1:] != self.id:
            raise ProtocolError("UnknownSession")
        self.answered = True
        return b"x"


def check_meeting():
    """Whatever was lost, late and out of order: two messages, the second sent when the first was read, are enough."""
    rng = seeded("meeting")
    draw = chooser(rng)

    def read(side, message):
        side.receive(message, lambda m: (Sketch(m[1:], False), b"x", b""))

    apart = 0
    for _ in range(1_500):
        sides, under_way, initiated = (Sessions(), Sessions()), ([], []), 0
        for _ in range(4 + draw(30)):
            who, what = draw(2), draw(5)
            me, to_me, to_peer = sides[who], under_way[who], under_way[1 - who]
            if initiated == 0 or what == 0 and initiated < 4:
                me.initiated(Sketch(rng(32), True))
                initiated += 1
            elif what <= 2 and me.sent_on:
                to_peer.append(me.sent_on.encrypt())
            elif to_me:
                read(me, to_me.pop(draw(len(to_me))))
        if all(s.sent_on for s in sides):
            apart += sides[0].sent_on.id != sides[1].sent_on.id
        first = draw(2)
        for turn in range(6):
            me, peer = sides[(first + turn) % 2], sides[(first + turn + 1) % 2]
            if me.sent_on:
                read(peer, me.sent_on.encrypt())
            if turn >= 1:
                holds("they meet, and stay", me.sent_on.id == peer.sent_on.id)
    holds("many that had to meet", apart > 100)


def forge(session, body=None, prefix=u8(KIND_RATCHET), **changes):
    """A message by a peer who knows all keys and does not keep to the rules. `session` has a sending chain."""
    work = session.clone()
    header = work.next_header()
    for name, value in changes.items():
        assert hasattr(header, name)
        setattr(header, name, value)
    raw = header.encode()
    key = body_key(work.sending.chain.step(), work.pq.sending.step(), raw, [])
    sealed_body = AEAD(key, subrosa.BODY_NONCE, work.ad + raw, encode_body(b"x", "none") if body is None else body)
    return prefix + XAEAD(work.sending.header_key, sealed_body[-24:], SUITE + prefix, raw) + sealed_body


def check_peer():
    """What an authenticated peer can send and must not."""
    p = Pair("peer")
    p.read(p.send(p.alice))
    alice = p.alice
    holds("forge", p.bob.clone().decrypt(forge(alice), []) == b"x")
    for what, names, bad in [
        ("PQ epoch", "TooFarAhead", forge(alice, pq_epoch=1)),
        ("ratchet key not canonical", "InvalidKey", forge(alice, ratchet_key=b"\xff" * 32)),
        ("other ratchet key", "PeerRolledBack", forge(alice, ratchet_key=alice.peer_key)),
        ("n far ahead", "TooFarAhead", forge(alice, n=alice.sending.chain.n + 25_001)),
        ("last n", "TooFarAhead", forge(alice, n=2**32 - 1)),
        ("pq_n far ahead", "TooFarAhead", forge(alice, pq_n=alice.pq.sending.n + 262_145)),
        ("pq_n behind", "PeerRolledBack", forge(alice, pq_n=0)),
        ("n that is not the key's", "Unauthentic", forge(alice, n=alice.sending.chain.n + 1)),
        ("n again", "Duplicate", forge(alice, n=0)),
        ("n again, other incarnation", "PeerRolledBack", forge(alice, n=0, incarnation=alice.incarnation ^ 1)),
        ("content length", "Malformed", forge(alice, u32(12) + bytes(12))),
        ("content length, large", "Malformed", forge(alice, b"\xff" * 4 + bytes(12))),
        ("type without codewords", "Malformed", forge(alice, u32(1) + b"x\x20" + bytes(10))),
        ("codeword cut off", "Malformed", forge(alice, u32(1) + b"x\x21" + bytes(33))),
        ("padding", "Malformed", forge(alice, u32(1) + b"x\0" + bytes(9) + b"\1")),
        ("short body", "Malformed", forge(alice, bytes(15))),
    ]:
        p.refuse(names, f"peer, {what}", bad)
    holds("any padding", p.bob.clone().decrypt(forge(alice, u32(1) + b"x" + bytes(777)), []) == b"x")
    holds("PQ at its limit", p.bob.clone().decrypt(jump(alice, 0, 262_144), []) == b"x")
    p.refuse("TooFarAhead", "peer, PQ beyond its limit", jump(alice, 0, 262_145))
    holds("EC at its limit", p.bob.clone().decrypt(jump(alice, 25_000, 25_000), []) == b"x")
    p.refuse("TooFarAhead", "peer, EC beyond its limit", jump(alice, 25_001, 25_001))

    handshake = u8(KIND_INITIAL) + p.bob.handshake
    holds("handshake part again", p.bob.clone().decrypt(forge(alice, prefix=handshake), []) == b"x")
    p.refuse("UnknownSession", "peer, other handshake part", forge(alice, prefix=flipped(handshake, -1)))

    # The same at the beginning of a chain, where the ratchet key may be of small order, too.
    p.turn()
    early = p.alice.clone()
    p.send(early)
    p.refuse("InvalidKey", "peer, ratchet key of small order", forge(early, ratchet_key=bytes(32)))
    p.refuse("TooFarAhead", "peer, new chain", forge(early, n=25_001))
    tired = p.bob.clone()
    tired.chains_seen = 2**32
    refused("TooFarAhead", "peer, chain number 2^32", lambda: tired.decrypt(forge(early), []), tired)

    # A header under the next header key while Bob has no ratchet key that it could answer.
    p.read(p.send(p.alice))
    holds("own key erased", p.bob.own_private is None)
    eager = p.alice.clone()
    eager.sending.header_key = eager.nhks
    p.refuse("UnknownSession", "peer, turn too early", forge(eager, ratchet_key=p.bob.clone().peer_key))

    for chain in ("sending", "pq_sending"):
        tired = p.alice.clone()
        p.send(tired)
        (tired.sending.chain if chain == "sending" else tired.pq.sending).n = 2**32 - 1
        refused("CounterExhausted", f"{chain}: number 2^32 - 1", lambda: p.send(tired), tired)


def jump(session, ec, pq):
    """The message that comes when so many keys of the chains were used up."""
    work = session.clone()
    advance(work.sending.chain, ec)
    advance(work.pq.sending, pq)
    return forge(work)


def check_rollback():
    # A restored state sends a number again: after the other, and before it.
    p = Pair("rollback")
    p.read(p.send(p.alice))
    old = p.alice.clone()
    p.read(p.send(p.alice))
    old.reopen(p.rng)
    p.refuse("PeerRolledBack", "number used twice", p.send(old))
    p.read(p.send(old))  # its next number was not used yet
    p.refuse("PeerRolledBack", "the same number by the first one", p.send(p.alice))

    # A restored state makes its turn again.
    p = Pair("rollback turn")
    old = p.alice.clone()
    p.send(p.alice)  # lost, so that the chain is kept
    p.read(p.send(p.alice))
    again = p.send(old)
    p.refuse("PeerRolledBack", "turn made twice", again)
    p.turn()
    p.read(p.send(p.alice))
    p.refuse("PeerRolledBack", "turn made twice, chain closed", again)
    # Beyond the end of a closed chain.
    p = Pair("rollback length")
    p.send(p.alice)  # lost, so that the chain is kept
    p.read(p.send(p.alice))
    old = p.alice.clone()
    p.turn()
    p.read(p.send(p.alice))
    p.refuse("PeerRolledBack", "beyond a closed chain", p.send(old))
    holds("closed chain", len(p.bob.closed) == 1)

    # A restored state sends numbers again, and a new one arrives first.
    p = Pair("rollback reordered")
    p.read(p.send(p.alice))
    old = p.alice.clone()
    p.read(p.send(p.alice))
    old.reopen(p.rng)
    again = [p.send(old) for _ in range(3)]
    p.read(again[2])
    p.refuse("PeerRolledBack", "number used twice, by an incarnation seen above it", again[0])
    p.read(again[1])
    p.refuse("PeerRolledBack", "number used twice, by an incarnation seen above it", again[0])
    p.refuse("Duplicate", "duplicate, by an incarnation seen later", again[1])

    # A restored state reads, then answers: a new chain, with PQ numbers that are used up.
    p = Pair("rollback answer")
    p.read(p.send(p.alice))
    old = p.alice.clone()
    late = p.send(p.alice)
    p.read(p.send(p.alice))
    holds("answer", old.decrypt(p.send(p.bob), []) == b"x")
    again = [p.send(old) for _ in range(3)]
    p.refuse("PeerRolledBack", "PQ number used up, in a new chain", again[1])
    branch = p.bob.clone()
    holds("PQ number skipped", branch.decrypt(again[0], []) == b"x")
    refused("PeerRolledBack", "PQ number used up, in the chain", lambda: branch.decrypt(again[1], []), branch)
    refused("TooOld", "PQ key gone, EC key kept", lambda: branch.decrypt(late, []), branch)
    p.read(again[2])
    p.refuse("TooOld", "PQ key gone, EC key kept in a new chain", again[1])

    # A pn below the chain's position: the position is the length.
    p = Pair("rollback pn")
    sent = [p.send(p.alice) for _ in range(3)]
    for message in (sent[0], sent[2]):
        p.read(message)
    p.turn()
    turned = p.alice.clone()
    p.send(turned)
    p.read(forge(turned, pn=1))
    p.refuse("Duplicate", "beyond pn, not beyond the position", sent[2])
    p.read(sent[1])

    # The first number that is used again was still missing.
    p = Pair("rollback missing")
    p.read(p.send(p.alice))
    old = p.alice.clone()
    late = p.send(p.alice)
    received = [p.send(p.alice) for _ in range(3)]
    for message in received:
        p.read(message)
    old.reopen(p.rng)
    again = [p.send(old) for _ in range(4)]
    p.read(again[0])
    for message in again + [late]:
        p.refuse("PeerRolledBack", "number used twice, the first of them missing", message)
    for message in received:
        p.refuse("Duplicate", "duplicate beside a rollback", message)

    # 32 incarnations are remembered.
    for restarts, name in ((31, "PeerRolledBack"), (32, "Duplicate")):
        p = Pair("incarnations")
        first = p.send(p.alice)
        p.read(first)
        for _ in range(restarts):
            p.alice.reopen(p.rng)
            p.read(p.send(p.alice))
        p.refuse("Duplicate", "duplicate of the first incarnation", first)
        p.refuse(name, "unseen incarnation", forge(p.alice, n=0, incarnation=p.alice.incarnation ^ 1))


def check_skipping():
    # 2,000 keys are kept, of the newest.
    p = Pair("skips")
    p.read(p.send(p.alice))
    sent = [p.send(p.alice) for _ in range(2_003)]
    p.read(sent[2_001])
    p.refuse("TooOld", "key not kept", sent[0])
    holds("keys", len(p.bob.ec_skipped) == len(p.bob.pq.skipped) == 2_000)
    p.read(sent[1])
    p.refuse("Duplicate", "duplicate", sent[1])
    p.read(sent[2_000])
    p.read(sent[2_002])

    # When the store is full, the oldest chain goes first, then it is not known any more.
    p = Pair("full")
    old = [p.send(p.alice) for _ in range(3)]
    p.read(old[2])
    p.turn()
    new = [p.send(p.alice) for _ in range(2_000)]
    p.read(new[1_999])
    p.refuse("TooOld", "oldest key gone", old[0])
    late = p.send(p.alice)
    p.read(p.send(p.alice))
    p.refuse("UnknownSession", "oldest chain gone", old[1])
    p.read(late)

    # A new chain closes the old one and keeps its rest; a rest that is too long is abandoned.
    for rest, outcome in ((25_000, "kept"), (25_001, "abandoned")):
        p = Pair("rest")
        lost = p.send(p.alice)
        got = p.send(p.alice)
        p.read(got)
        p.bob.pq.receiving[0].skip_to(p.bob.pq.receiving[0].n + rest - 1)  # so that PQ keys are not what is missing
        advance(p.alice.sending.chain, rest - 1)
        advance(p.alice.pq.sending, rest - 1)
        last = p.send(p.alice)
        p.turn()
        p.read(p.send(p.alice))
        if outcome == "kept":
            p.read(last)
            p.refuse("TooOld", "lost in the rest", lost)
        else:
            p.refuse("TooOld", "abandoned", last)
            p.read(lost)
            p.refuse("UnknownSession", "chain without keys", got)

    # The PQ keys of an abandoned rest do not push out those that can still be used.
    p = Pair("abandoned")
    lost = p.send(p.alice)
    p.read(p.send(p.alice))
    advance(p.alice.sending.chain, 30_000)
    advance(p.alice.pq.sending, 30_000)
    p.turn()
    late = [p.send(p.alice) for _ in range(3)]
    p.read(p.send(p.alice))
    holds("PQ keys", len(p.bob.pq.skipped) == 4)
    for message in [lost] + late:
        p.read(message)

    # 40 closed chains.
    p = Pair("closed")
    lost = []
    for _ in range(43):
        lost.append(p.send(p.alice))
        p.read(p.send(p.alice))
        p.turn()
    holds("closed chains", len(p.bob.closed) == 40)
    holds("PQ keys go with EC keys", len(p.bob.pq.skipped) == len(p.bob.ec_skipped) == 41)
    for message in lost[:2]:
        p.refuse("UnknownSession", "oldest closed chain", message)
    for message in lost[2:]:
        p.read(message)
    holds("all read", not p.bob.closed and not p.bob.ec_skipped)


def check_expiry():
    # Keys of a closed chain last for 2,000 turns. So many would take minutes here: the numbers of the chains are set.
    for turns, outcome in ((2_000, "kept"), (2_001, "gone")):
        p = Pair("late turns")
        lost = p.send(p.alice)
        p.read(p.send(p.alice))
        p.turn()
        p.read(p.send(p.alice))
        p.bob.receiving.serial += turns - 1
        p.bob.chains_seen += turns - 1
        p.read(p.send(p.alice))
        if outcome == "kept":
            p.read(lost)
        else:
            p.refuse("UnknownSession", "too many turns late", lost)

    # Those of the chain that is current, and of those before, for 25,000 of its messages.
    for count, outcome in ((25_000, "kept"), (25_001, "gone")):
        p = Pair("late messages")
        before = p.send(p.alice)
        p.read(p.send(p.alice))
        p.turn()
        lost = p.send(p.alice)
        p.read(p.send(p.alice))
        for chain in (p.alice.sending.chain, p.alice.pq.sending, p.bob.receiving.chain, p.bob.pq.receiving[0]):
            advance(chain, count - 3)
        p.read(p.send(p.alice))
        holds("position", p.bob.receiving.chain.n == count)
        if outcome == "kept":
            p.read(before)
            p.read(lost)
            continue
        p.refuse("UnknownSession", "of a chain before, too late", before)
        p.refuse("TooOld", "of this chain, too late", lost)
        holds("nothing kept", not p.bob.pq.skipped and not p.bob.closed)


def check_kem_halves():
    """The halves against two packages that encapsulate in one step."""
    rng = seeded("kem")
    for _ in range(12):
        seed, coins = rng(64), rng(32)
        header, vector = subrosa.kem_key_pair(seed)
        theirs = MLKEM768PrivateKey.from_seed_bytes(seed)
        ek = vector + header[:32]
        holds("encapsulation key", theirs.public_key().public_bytes_raw() == ek)
        holds("header", header[32:] == hashlib.sha3_256(ek).digest())
        holds("vector", subrosa.vector_is_valid(header, vector))

        ct1, K = subrosa.kem_first_half(header, coins)
        ct2 = subrosa.kem_second_half(header, coins, vector)
        holds("one-shot encapsulation", subrosa.ML_KEM_768._encaps_internal(ek, coins) == (K, ct1 + ct2))
        holds("decapsulation", subrosa.kem_decaps_halves(seed, ct1, ct2) == theirs.decapsulate(ct1 + ct2) == K)
        shared, ct = theirs.public_key().encapsulate()
        holds("decapsulation of theirs", subrosa.kem_decaps_halves(seed, ct[:960], ct[960:]) == shared)
        for at in (0, 959, 960, 1087):
            bad = flipped(ct1 + ct2, at)
            rejected = subrosa.kem_decaps_halves(seed, bad[:960], bad[960:])
            holds("implicit rejection", rejected == theirs.decapsulate(bad) != K)
        # Section 8.5: the first half is that of any other vector.
        r = hashlib.sha3_512(coins + header[32:]).digest()[32:]
        for other in (bytes(1152), subrosa.kem_key_pair(rng(64))[1]):
            whole = subrosa.ML_KEM_768._k_pke_encrypt(other + header[:32], coins, r)
            holds("first half, another vector", whole[:960] == ct1)

    for at in (0, 600, 1151):
        holds("vector altered", not subrosa.vector_is_valid(header, flipped(vector, at)))
    for at in (0, 32):
        holds("header altered", not subrosa.vector_is_valid(flipped(header, at), vector))
    for i in (0, 1, 767):
        for c, valid in ((3328, True), (3329, False), (4095, False)):
            words = subrosa.byte_decode(12, vector)
            words[i] = c
            altered = subrosa.byte_encode(12, words)
            matching = header[:32] + hashlib.sha3_256(altered + header[:32]).digest()
            holds(f"coefficient {c}", subrosa.vector_is_valid(matching, altered) == valid)


def gf_times(a, b):
    """The product in GF(2^16), bit by bit."""
    product = 0
    for i in range(16):
        if b >> i & 1:
            product ^= a << i
    for i in reversed(range(16, 31)):
        if product >> i & 1:
            product ^= 0x1100B << i - 16
    return product


def check_erasure_code():
    rng = seeded("erasure")
    draw = chooser(rng)
    for k in sorted(set(subrosa.VALUE_CHUNKS.values())):
        value = rng(32 * k)
        for i in range(k):
            holds("systematic", subrosa.codeword(value, i) == value[32 * i : 32 * i + 32])
        subsets = [range(k), range(k, 2 * k), range(65_536 - k, 65_536), [65_535, *range(k - 1)]]
        subsets += [sorted({draw(2 * k + 1) for _ in range(9 * k)})[-k:] for _ in range(3)]
        for _ in range(6):
            some = set()
            while len(some) < k:
                some.add(draw(65_536))
            subsets.append(list(some))
        for indices in subsets:
            known = {i: subrosa.codeword(value, i) for i in indices}
            holds("k codewords", len(known) == k and subrosa.recover(known) == value)

        # The codewords are the values of polynomials of degree below k, by another arithmetic.
        def evaluated(x):
            chunk = b""
            for lane in polynomials:
                y = 0
                for c in lane:
                    y = gf_times(y, x) ^ c
                chunk += subrosa.u16(y)
            return chunk

        polynomials = [[draw(65_536) for _ in range(k)] for _ in range(16)]
        value = b"".join(map(evaluated, range(k)))
        for x in (k, 2 * k, 65_535, draw(65_536)):
            holds("polynomial", subrosa.codeword(value, x) == evaluated(x))

        # A stream goes on from message to message, and begins anew after 2k.
        stream, indices = subrosa.Stream(value), []
        for count in (1, 2, k, k + 1, 31, 31, 31):
            taken = stream.take(count)
            holds("at most k", len(taken) == min(count, k))
            holds("codewords", all(chunk == subrosa.codeword(value, i) for i, chunk in taken[:2]))
            indices += [i for i, _ in taken]
        holds("indices in turn", indices == [i % (2 * k + 1) for i in range(len(indices))])


# By state: the types of codewords that the tables of section 8.4 name.
COLLECTED = {
    "KeysUnsampled": (),
    "KeysSampled": (CT1,),
    "HeaderSent": (CT1,),
    "Ct1Received": (CT2,),
    "EkSentCt1Received": (CT2,),
    "NoHeaderReceived": (HEADER_TYPE,),
    "HeaderReceived": (),
    "Ct1Sampled": (VECTOR, VECTOR_ACK),
    "EkReceivedCt1Sampled": (VECTOR_ACK,),
    "Ct1Acknowledged": (VECTOR, VECTOR_ACK),
    "Ct2Sampled": (),
    "Ended": (),
}
# By state: what a side keeps besides the authenticator. All else is erased.
KEPT = {
    "KeysUnsampled": "",
    "KeysSampled": "seed stream",
    "HeaderSent": "seed stream",
    "Ct1Received": "seed ct1 stream",
    "EkSentCt1Received": "seed ct1",
    "NoHeaderReceived": "",
    "HeaderReceived": "header",
    "Ct1Sampled": "header coins ct1 stream",
    "EkReceivedCt1Sampled": "ct2 stream",
    "Ct1Acknowledged": "header coins ct1",
    "Ct2Sampled": "stream",
    "Ended": "",
}
SENT = {
    "KeysUnsampled": HEADER_TYPE, "KeysSampled": HEADER_TYPE, "HeaderSent": VECTOR, "Ct1Received": VECTOR_ACK,
    "EkSentCt1Received": NONE, "NoHeaderReceived": NONE, "HeaderReceived": CT1, "Ct1Sampled": CT1,
    "EkReceivedCt1Sampled": CT1, "Ct1Acknowledged": NONE, "Ct2Sampled": CT2, "Ended": NONE,
}  # fmt: skip
# What one message can do to its sender or its reader: the numbers of section 8.4.
TRANSITIONS = {
    ("KeysUnsampled", "KeysSampled"): {1},
    ("KeysSampled", "HeaderSent"): {2},
    ("KeysSampled", "Ct1Received"): {2, 3},
    ("HeaderSent", "Ct1Received"): {3},
    ("Ct1Received", "EkSentCt1Received"): {4},
    ("Ct1Received", "NoHeaderReceived"): {4, 5},
    ("EkSentCt1Received", "NoHeaderReceived"): {5},
    ("NoHeaderReceived", "HeaderReceived"): {6},
    ("HeaderReceived", "Ct1Sampled"): {7},
    ("Ct1Sampled", "Ct1Acknowledged"): {8},
    ("Ct1Sampled", "Ct2Sampled"): {9},
    ("Ct1Sampled", "EkReceivedCt1Sampled"): {10},
    ("Ct1Acknowledged", "Ct2Sampled"): {11},
    ("EkReceivedCt1Sampled", "Ct2Sampled"): {12},
    ("Ct2Sampled", "KeysUnsampled"): {13},
}


class Braids:
    """The Braids of both sides without sessions: Alice makes the key pair, Bob encapsulates."""

    def __init__(self, seed, epoch=1):
        self.rng = seeded(seed)
        secret = self.rng(32)
        self.alice, self.bob = Braid.start(True, secret, []), Braid.start(False, secret, [])
        self.alice.epoch = self.bob.epoch = epoch
        self.keys = {"alice": [], "bob": []}  # epoch keys that were put out

    def ignores(self, who):
        """Whatever the tables do not name changes nothing, and nothing is kept that is not needed."""
        braid = getattr(self, who)
        kept = [name for name in ("seed", "header", "coins", "ct1", "ct2", "stream") if getattr(braid, name)]
        same(f"kept in {braid.state}", sorted(kept), sorted(KEPT[braid.state].split()))
        for epoch in (0, braid.epoch - 1, braid.epoch, braid.epoch + 1, braid.epoch + 2, 2**32 - 1):
            for kind in range(6):
                if epoch == braid.epoch and kind in COLLECTED[braid.state]:
                    continue
                if epoch == braid.epoch + 1 and braid.state == "Ct2Sampled":
                    continue
                before, codewords = copy.deepcopy(braid), Codewords(kind, [(77, bytes(32))] * (kind != NONE))
                key = braid.receive(epoch, codewords, [])
                holds(f"{braid.state} ignores type {kind} of epoch {epoch}", key is None and braid == before)

    def send(self, who, room):
        """(Braid epoch, codewords)"""
        braid = getattr(self, who)
        sampled, state, before = braid.samples, braid.state, braid.epoch
        codewords, key = braid.send(room, self.rng(64) if sampled else None, [])
        holds("type of codewords", codewords.type == SENT[state])
        k = subrosa.VALUE_CHUNKS.get(codewords.type, 0)
        holds("number of codewords", len(codewords.list) == min(room, k) and braid.epoch == before)
        holds("a key when Bob samples", bool(key) == (state == "HeaderReceived"))
        state = {"KeysUnsampled": "KeysSampled", "HeaderReceived": "Ct1Sampled"}.get(state, state)
        holds("state when sent", braid.state == state)
        self.keys[who] += [key] * bool(key)
        return braid.epoch, codewords

    def read(self, who, message):
        key = getattr(self, who).receive(*message, [])
        self.keys[who] += [key] * bool(key)

    def go(self, who, room, alice, bob):
        """`who` sends, the other reads; then they are in these states."""
        other = "bob" if who == "alice" else "alice"
        self.read(other, self.send(who, room))
        same("states", (self.alice.state, self.bob.state), (alice, bob))
        self.ignores("alice")
        self.ignores("bob")


def check_braid():
    """Each transition of section 8.4, on several ways through an epoch."""
    unsampled, sampled, sent = "KeysUnsampled", "KeysSampled", "HeaderSent"
    received, ek_sent, no_header = "Ct1Received", "EkSentCt1Received", "NoHeaderReceived"
    header, ct1, acked = "HeaderReceived", "Ct1Sampled", "Ct1Acknowledged"
    ek_received, ct2 = "EkReceivedCt1Sampled", "Ct2Sampled"
    begin = [("alice", 2, sampled, no_header), ("bob", 31, sampled, no_header), ("alice", 1, sampled, header)]
    end = [("bob", 4, ek_sent, ct2), ("alice", 31, ek_sent, ct2), ("bob", 1, no_header, ct2)]
    end += [("bob", 31, no_header, ct2), ("alice", 31, no_header, unsampled)]
    for what, way in {
        "one each": [("alice", 1, sampled, no_header)] * 2 + [("alice", 1, sampled, header)]
        + [("bob", 1, sent, ct1), ("alice", 1, sent, ct1)] * 29 + [("bob", 1, received, ct1)]
        + [("alice", 1, received, acked)] * 6 + [("bob", 1, received, acked), ("alice", 1, received, ct2)]
        + [("bob", 1, ek_sent, ct2)] * 4 + [("bob", 1, no_header, ct2), ("alice", 1, no_header, unsampled)],
        "as many as fit": [
            ("alice", 31, sampled, header), ("bob", 31, received, ct1), ("alice", 31, received, acked),
            ("alice", 31, received, ct2), ("bob", 31, no_header, ct2), ("alice", 31, no_header, unsampled),
        ],
        "6, 7, 2, 3, 8, 11": begin + [
            ("bob", 10, sent, ct1), ("alice", 9, sent, ct1), ("bob", 20, received, ct1), ("alice", 9, received, acked),
            ("bob", 31, received, acked), ("alice", 17, received, acked), ("alice", 1, received, ct2),
        ] + end,
        "9": begin + [
            ("bob", 10, sent, ct1), ("alice", 31, sent, ct1), ("bob", 20, received, ct1), ("alice", 5, received, ct2),
        ] + end,
        "10, 12": begin + [
            ("bob", 10, sent, ct1), ("alice", 31, sent, ct1), ("alice", 5, sent, ek_received),
            ("bob", 19, sent, ek_received), ("bob", 1, received, ek_received), ("alice", 1, received, ct2),
        ] + end,
    }.items():  # fmt: skip
        for epoch in (1, 2**32 - 3):
            b = Braids(f"braid {what}", epoch)
            b.ignores("alice")
            b.ignores("bob")
            for step in way:
                b.go(*step)
            holds("one key", b.keys["alice"] == b.keys["bob"] and len(b.keys["bob"]) == 1)
            holds("the next epoch", b.alice.epoch == b.bob.epoch == epoch + 1)
            holds("the same authenticator", (b.alice.root, b.alice.mac) == (b.bob.root, b.bob.mac))
            holds("nothing left", b.alice == Braid(epoch + 1, no_header, b.alice.root, b.alice.mac))
            holds("nothing left", b.bob == Braid(epoch + 1, unsampled, b.bob.root, b.bob.mac))
            if epoch == 1:  # the roles are swapped
                b.alice, b.bob, b.keys = b.bob, b.alice, {"alice": [], "bob": []}
                for step in way:
                    b.go(*step)
                holds("another key", b.keys["alice"] == b.keys["bob"] and b.alice.epoch == 3)

    # Transition 13 looks at the epoch only.
    for kind in range(6):
        b = Braids("13")
        b.bob.state = ct2
        b.read("bob", (2, Codewords(kind, [(0, bytes(32))] * bool(kind))))
        holds("13, with any codewords", b.bob == Braid(2, unsampled, b.bob.root, b.bob.mac))

    # A repeated index, and one more than k, are dropped: the first one counts. Any order, any index.
    b = Braids("dropped")
    epoch, message = b.send("alice", 3)
    value = b.alice.stream.value
    b.read("bob", (epoch, Codewords(HEADER_TYPE, [(65_535, subrosa.codeword(value, 65_535))])))
    b.read("bob", (epoch, Codewords(HEADER_TYPE, [(65_535, bytes(32))] * 31)))
    holds("one index", b.bob.state == no_header and len(b.bob.collected) == 1)
    some = [(i, subrosa.codeword(value, i)) for i in (40_000, 2)] + [(0, bytes(32)), (2, bytes(32))]
    b.read("bob", (epoch, Codewords(HEADER_TYPE, some)))
    holds("the first three", b.bob.state == header)


def check_braid_end():
    def at(place, epoch=1):
        """Both sides, and a message of Alice's or Bob's that completes a value."""
        b = Braids("end", epoch)
        messages = []
        for who, room in [("alice", 3), ("bob", 30), ("alice", 31), ("alice", 31), ("bob", 5)]:
            message = b.send(who, room)
            messages.append(message)
            if len(messages) == place:
                return b, message
            b.read("bob" if who == "alice" else "alice", message)

    def ended(what, b, who, keys):
        braid = getattr(b, who)
        holds(what, braid == Braid(braid.epoch, "Ended", None, None) and len(b.keys[who]) == keys)
        b.ignores(who)
        b.send(who, 31)

    def altered(message, index, mask=1):
        epoch, codewords = message
        words = [(i, flipped(chunk, 5, mask) if i == index else chunk) for i, chunk in codewords.list]
        return epoch, Codewords(codewords.type, words)

    for place, who, indices in ((1, "bob", range(3)), (4, "bob", (31, 35, 36)), (5, "alice", range(5))):
        for index in indices:
            b, message = at(place)
            b.read(who, altered(message, index))
            if place == 4 and index == 36:  # one more than k: it is not used
                holds("not used", b.bob.state == "Ct2Sampled")
            else:
                ended(f"altered, {place}", b, who, int(place == 4))
        b, message = at(place)
        b.read(who, message)
        holds("not altered", getattr(b, who).state != "Ended")

    # Another authenticator, in the header's MAC and in the ciphertext's.
    for place, who in ((1, "bob"), (5, "alice")):
        for part in ("root", "mac"):
            b, message = at(place)
            setattr(getattr(b, who), part, bytes(32))
            b.read(who, message)
            # The header's MAC is without the root; the ciphertext's is under what comes of it, not of the old key.
            if part == ("mac" if place == 1 else "root"):
                ended("authenticator", b, who, 0)
            else:
                holds("authenticator", getattr(b, who).state != "Ended")

    # A ciphertext that is replaced, with K of another: implicit rejection, then the MAC is wrong.
    b, message = at(5)
    b.alice.ct1 = flipped(b.alice.ct1, 100)
    b.read("alice", message)
    ended("first half altered", b, "alice", 0)

    # A vector that has the hash, but does not pass the modulus check.
    b, message = at(4)
    vector = subrosa.kem_key_pair(b.alice.seed)[1]
    words = subrosa.byte_decode(12, vector)
    words[5] = 3329
    vector = subrosa.byte_encode(12, words)
    b.bob.header = b.bob.header[:32] + hashlib.sha3_256(vector + b.bob.header[:32]).digest()
    b.bob.collected = {}
    for first in (0, 31):
        some = [(i, subrosa.codeword(vector, i)) for i in range(first, min(36, first + 31))]
        b.read("bob", (1, Codewords(VECTOR, some)))
    ended("modulus", b, "bob", 1)

    # The last epoch: its key is put out.
    b, message = at(5, 2**32 - 2)
    b.read("alice", message)
    ended("last epoch", b, "alice", 1)
    holds("last key", b.keys["alice"] == b.keys["bob"])
    b.ignores("bob")
    b.read("bob", (2**32 - 1, Codewords()))
    ended("last epoch", b, "bob", 1)

    # In a session: the content is delivered, and it goes on in the epochs that it has.
    p = Pair("end")
    p.send(p.alice)  # it makes the turn
    wrong = Codewords(HEADER_TYPE, [(i, bytes(32)) for i in range(3)])
    p.read(forge(p.alice, encode_body(b"x", "none", wrong)))
    for chain in (p.alice.sending.chain, p.alice.pq.sending):
        advance(chain, 1)
    holds("needs rehandshake", p.bob.needs_rehandshake and not p.alice.needs_rehandshake)
    ended = copy.deepcopy(p.bob.pq.braid)
    for _ in range(20):
        holds("no codewords", len(p.send(p.bob)) == 1 + 68 + 16 + 16)
        p.turn()
        p.read(p.send(p.alice, padding="buckets"))
    holds("ended for good", p.bob.pq.braid == ended and p.alice.pq.braid.state == "KeysSampled")
    holds("epoch 0", p.bob.pq.newest == p.alice.pq.newest == p.alice.pq.sending_epoch == 0)

    # A state that was put back makes another key pair: codewords of two headers meet.
    alice, bob, _ = people()
    rng = seeded("two headers")
    prekeys = Prekeys.generate(bob, rng, NOW, 0, [])
    session = initiate(alice, prekeys.bundle(bob), b"", NOW, rng, [])
    again = session.clone()
    reader, _, _ = accept(bob, prekeys, session.encrypt(b"", "none", rng, []), rng, [])
    again.encrypt(b"", "none", rng, [])
    session.pq.braid = again.pq.braid  # the rest of what was put back, a turn made twice, is not of interest here
    for _ in range(2):
        holds("not yet", not reader.needs_rehandshake)
        reader.decrypt(session.encrypt(b"", "none", rng, []), [])
    holds("two headers", reader.needs_rehandshake)
    sessions = Sessions([reader], reader)
    sessions.receive(session.encrypt(b"", "none", rng, []), None)
    holds("not given up", not sessions.given_up)


def invariants(p):
    """What section 8.3 says of two honest sides whose Braid runs."""
    for session in (p.alice, p.bob):
        pq = session.pq
        root = p.roots.setdefault(pq.newest, pq.root)
        holds("one PQ root in an epoch", pq.root == root)
        holds("sending epoch", pq.sending_epoch == pq.braid.epoch - 1)
        holds("newest epoch", pq.newest - pq.sending_epoch == bool(pq.waiting) <= 1)
        holds("newest chains", {max(0, pq.newest - 1), pq.newest} <= set(pq.receiving))
    holds("side by side", abs(p.alice.pq.braid.epoch - p.bob.pq.braid.epoch) <= 1)


def check_epochs():
    """Honest sides, with messages lost, late, and repeated. All of the transitions come."""
    seen = set()
    for what, messages, loss, alices, padding, fewest in [
        ("in turn", 500, 0, None, "buckets", 20),
        ("lossy", 800, 30, 50, "buckets", 10),
        ("unpadded", 600, 10, 50, "none", 4),
        ("Alice writes more", 600, 10, 85, "buckets", 4),
        ("Bob writes more", 600, 10, 15, "buckets", 4),
    ]:
        p = Pair(f"epochs {what}")
        p.roots, draw = {}, chooser(seeded(f"epochs draw {what}"))
        under_way = {"alice": [], "bob": []}  # to
        for i in range(messages):
            who = ("alice", "bob")[i % 2 if alices is None else draw(100) >= alices]
            other = "bob" if who == "alice" else "alice"
            sender, reader = getattr(p, who), getattr(p, other)
            content = bytes(draw(300) if padding == "buckets" else 1)
            state = sender.pq.braid.state
            message = p.send(sender, content, padding)
            seen |= TRANSITIONS.get((state, sender.pq.braid.state), set())
            sent = sender.pq.braid.state not in ("EkSentCt1Received", "NoHeaderReceived", "Ct1Acknowledged")
            length = 1 + 68 + 16 + subrosa.body_length(len(content), padding, int(sent))
            holds("length", len(message) - length == (message[0] == KIND_INITIAL) * len(sender.handshake))
            if draw(100) >= loss:
                under_way[other].append((message, content))
            in_turn = alices is None
            while len(under_way[other]) > (0 if in_turn else draw(4)):
                message, content = under_way[other].pop(0 if in_turn else draw(len(under_way[other])))
                state = reader.pq.braid.state
                holds("content", reader.decrypt(message, []) == content)
                now = reader.pq.braid.state
                holds("a transition", state == now or (state, now) in TRANSITIONS)
                seen |= TRANSITIONS.get((state, now), set())
                if not reader.ec_skipped:
                    holds("nothing kept", len(reader.pq.receiving) <= 2 and not reader.pq.skipped)
                if draw(8) == 0:
                    names = "Duplicate UnknownSession TooOld"
                    refused(names, "again", lambda: reader.decrypt(message, []), reader)
                    bad = flipped(message, -25)
                    refused(names + " Unauthentic", "altered", lambda: reader.decrypt(bad, []), reader)
            if draw(20) == 0:
                reader.reopen(p.rng)
            invariants(p)
        holds(f"epochs, {what}", min(p.alice.pq.newest, p.bob.pq.newest) >= fewest)
    holds("all transitions", seen == set(range(1, 14)))


def check_bodies():
    """Section 6: every tag, the room, and what may be behind."""
    rng = seeded("bodies")
    draw = chooser(rng)
    for tag in range(256):
        kind, count = tag >> 5, tag & 31
        words = rng(34 * count)
        for content in (b"", b"content"):
            body = u32(len(content)) + content + u8(tag) + words
            good = kind <= 5 and (kind == 0) == (count == 0)
            for zeros in (0, 1, 100):
                decode = lambda: subrosa.decode_body(body.ljust(16, b"\0") + bytes(zeros))  # noqa: E731
                if not good:
                    refused("Malformed", f"tag {tag:#x}", decode)
                    continue
                read, codewords = decode()
                holds("content", read == content and codewords.type == kind)
                joined = b"".join(subrosa.u16(i) + chunk for i, chunk in codewords.list)
                holds("codewords", joined == words and len(codewords.list) == count)
            if good and len(body) >= 16:
                refused("Malformed", "not zero", lambda: subrosa.decode_body(body + b"\0\1"))
                refused("Malformed", "cut off", lambda: subrosa.decode_body(body[: -1 - draw(33)]))
    body = encode_body(b"x", "none", Codewords(CT1, [(1, bytes(32)), (1, b"\1" * 32)]))
    holds("one index twice", len(subrosa.decode_body(body)[1].list) == 2)

    # Room: what is put into it never makes a padded message longer, and one more would not fit.
    rooms = {0: 7, 13: 7, 14: 6, 183: 2, 184: 1, 217: 1, 218: 8, 473: 1, 474: 16, 985: 1, 986: 2, 2**24 - 39: 1}
    for content, count in rooms.items():
        holds(f"room at {content}", subrosa.room(content, "buckets") == count)
        holds("room without padding", subrosa.room(content, "none") == 1)
    for content in range(0, 5_000):
        count, bucket = subrosa.room(content, "buckets"), subrosa.bucket(content)
        holds("fits", 1 <= count <= 31 and content + 5 + 34 * count <= bucket)
        holds("fills", count == 31 or content + 5 + 34 * (count + 1) > bucket)
    holds("31", subrosa.room(70_000, "buckets") == 31)
    for count in (0, 1):
        lengths = {0: (16, 39), 11: (16, 50), 12: (17, 51), 2**24 - 39: (2**24 - 34, 2**24)}
        for content, without in lengths.items():
            holds("none", subrosa.body_length(content, "none", count) == without[count])


def check_codewords():
    """What an authenticated peer can put into a body, and what becomes of it."""
    p = Pair("codewords")
    p.read(p.send(p.alice))
    holds("Bob has two of the header", len(p.bob.pq.braid.collected) == 2)
    before = copy.deepcopy(p.bob.pq.braid)
    for kind in range(1, 6):
        for count in (1, 31):
            some = Codewords(kind, [(i * 2_000 + 3, bytes(32)) for i in range(count)])
            branch = p.bob.clone()
            holds("content", branch.decrypt(forge(p.alice, encode_body(b"x", "none", some)), []) == b"x")
            holds("of use or not", (branch.pq.braid == before) == (kind != HEADER_TYPE))
    # A body that does not open or parse brings no codewords, and a duplicate brings none again.
    braid = p.alice.pq.braid
    last = Codewords(HEADER_TYPE, [(2, subrosa.codeword(braid.stream.value, 2))])
    good = forge(p.alice, encode_body(b"x", "none", last))
    p.refuse("Unauthentic", "codeword in a bad body", flipped(good, -25))
    p.refuse("Malformed", "codeword, and padding", forge(p.alice, encode_body(b"x", "none", last) + b"\1"))
    p.refuse("TooFarAhead", "codeword, and PQ epoch", forge(p.alice, encode_body(b"x", "none", last), pq_epoch=1))
    p.read(good)
    holds("header", p.bob.pq.braid.state == "HeaderReceived")
    p.refuse("Duplicate", "codeword again", good)

    # A late message's codewords count, also under skipped keys.
    p = Pair("late codewords")
    sent = [p.send(p.alice) for _ in range(3)]
    p.read(sent[2])
    two = len(p.bob.pq.braid.collected)
    p.read(sent[0])
    holds("counted", p.bob.pq.braid.state == "HeaderReceived" or len(p.bob.pq.braid.collected) == two + 1)

    # The first message may bring any codewords, or none, and complete the header.
    alice, bob, _ = people()
    rng = seeded("first codewords")
    prekeys = Prekeys.generate(bob, rng, NOW, 0, [])
    session = initiate(alice, prekeys.bundle(bob), b"", NOW, rng, [])
    session.encrypt(b"", "none", rng, [])
    value, handshake = session.pq.braid.stream.value, u8(KIND_INITIAL) + session.handshake
    header = [(i, subrosa.codeword(value, i)) for i in (9, 65_535, 1)]
    for what, some, state in [
        ("none", Codewords(), "NoHeaderReceived"),
        ("a header", Codewords(HEADER_TYPE, header), "HeaderReceived"),
        ("a wrong header", Codewords(HEADER_TYPE, header[:2] + [(0, bytes(32))]), "Ended"),
        ("a vector", Codewords(VECTOR, header), "NoHeaderReceived"),
    ]:
        forged = forge(session, encode_body(b"x", "none", some), handshake)
        reader, content, _ = accept(bob, copy.deepcopy(prekeys), forged, rng, [])
        holds(f"first message with {what}", content == b"x" and reader.pq.braid.state == state)


def next_epoch(p, key=b"epoch key".ljust(32)):
    """The next epoch on both sides at once, without codewords. Their Braids have to be at the beginning of one."""
    for session in (p.alice, p.bob):
        pq = session.pq
        pq._begin(key, [])
        pq.sending_epoch, pq.sending, pq.waiting = pq.newest, pq.waiting, None
        pq.braid.epoch += 1


def check_old_epochs():
    # The Braid goes on while three messages of each of the first five epochs are late.
    p = Pair("old epochs")
    late = {}
    for _ in range(120):
        epoch = p.alice.pq.sending_epoch
        if epoch not in late and epoch <= 4:
            late[epoch] = [p.send(p.alice, bytes([epoch, i])) for i in range(3)]
        p.read(p.send(p.alice, padding="buckets"))
        holds("answer", p.alice.decrypt(p.send(p.bob, padding="buckets"), []) == b"x")
    newest = p.bob.pq.newest
    holds("epochs", sorted(late) == [0, 1, 2, 3, 4] and newest >= 6)
    holds("all chains are kept", len(p.bob.pq.receiving) == newest + 1)
    holds("all keys are kept", {e for e, _ in p.bob.pq.skipped} == set(late))
    for epoch in (3, 0, 4, 1, 2):
        for i in (1, 0, 2):
            braid = copy.deepcopy(p.bob.pq.braid)
            kept = set(p.bob.pq.receiving)
            p.read(late[epoch][i], bytes([epoch, i]))
            holds("codewords of an old epoch", p.bob.pq.braid == braid)
            if (epoch, i) != (2, 2):
                holds("kept", set(p.bob.pq.receiving) == kept)
    holds("not kept any more", set(p.bob.pq.receiving) == {newest - 1, newest} and not p.bob.pq.skipped)

    # The last messages of an epoch come after the first of the next: its chain is stepped then.
    p = Pair("end of an epoch")
    p.read(p.send(p.alice))
    position = p.bob.pq.receiving[0].n
    last = [p.send(p.alice) for _ in range(3)]
    next_epoch(p)
    p.read(p.send(p.alice))
    holds("not stepped", p.bob.pq.receiving[0].n == position and not p.bob.pq.skipped)
    p.read(last[1])
    holds("stepped", len(p.bob.pq.skipped) == 1)
    p.read(last[2])
    p.read(last[0])
    holds("all read", not p.bob.pq.skipped and len(p.bob.pq.receiving) == 2)
    p.refuse("Duplicate", "again", last[0])

    # The same after an abandoned rest, whose PQ keys do not push out those that can still be used.
    p = Pair("abandoned in an epoch")
    lost = p.send(p.alice)
    p.read(p.send(p.alice))
    for chain in (p.alice.sending.chain, p.alice.pq.sending):
        advance(chain, 30_000)
    p.turn()
    late = [p.send(p.alice) for _ in range(3)]
    next_epoch(p)
    p.read(p.send(p.alice))
    holds("one PQ key", len(p.bob.ec_skipped) == 4 and len(p.bob.pq.skipped) == 1)
    p.read(late[1])
    holds("only that of use", len(p.bob.ec_skipped) == 3 and len(p.bob.pq.skipped) == 1 + 1)
    for message in (late[2], lost, late[0]):
        p.read(message)
    holds("all read", not p.bob.ec_skipped and not p.bob.pq.skipped)

    # 256 epochs are kept while a message is missing; its key stays if its chain had passed it, else it is too old.
    p = Pair("many epochs")
    p.read(p.send(p.alice))
    skipped = p.send(p.alice)
    p.read(p.send(p.alice))
    not_passed = p.send(p.alice)
    for _ in range(255):
        next_epoch(p)
        p.read(p.send(p.alice))
    holds("256 are kept", sorted(p.bob.pq.receiving) == list(range(256)))
    branch = p.bob.clone()
    holds("epoch 0", branch.decrypt(not_passed, []) == b"x")
    next_epoch(p)
    p.read(p.send(p.alice))
    holds("256 are kept", sorted(p.bob.pq.receiving) == list(range(1, 257)))
    p.refuse("TooOld", "chain of the epoch is gone", not_passed)
    p.refuse("PeerRolledBack", "in a new message", forge(p.alice, pq_epoch=0, pq_n=1_000))
    p.refuse("PeerRolledBack", "in a new message, with a PQ key skipped and used", forge(p.alice, pq_epoch=0, pq_n=0))
    p.read(skipped)
    holds("one is still missing", len(p.bob.pq.receiving) == 256 and not p.bob.pq.skipped)
    p.bob.ec_skipped.clear()  # as if it had been read
    p.read(p.send(p.alice))
    holds("two are kept", sorted(p.bob.pq.receiving) == [255, 256])
    p.refuse("PeerRolledBack", "epoch behind, in a new message", forge(p.alice, pq_epoch=254, pq_n=1_000))
    p.refuse("Unauthentic", "epoch before, in a new message", forge(p.alice, pq_epoch=255, pq_n=1_000))

    # Only PQ keys with an EC key to use them with are kept. Of a peer that skips in one ratchet only that is another one.
    p = Pair("PQ keys of no use")
    p.read(p.send(p.alice))
    lost = p.send(p.alice)
    branch = p.bob.clone()
    holds("content", branch.decrypt(jump(p.alice, 0, 6), []) == b"x")
    holds("as many of each", len(branch.ec_skipped) == len(branch.pq.skipped) == 1)
    refused("TooOld", "a PQ key of no use", lambda: branch.decrypt(lost, []), branch)
    p.read(p.send(p.alice))
    p.read(lost)
    holds("no EC key is left", not p.bob.ec_skipped and not p.bob.pq.skipped)

    # Only reading looks at what is kept.
    p = Pair("kept when sending")
    p.read(p.send(p.alice))
    for _ in range(3):
        next_epoch(p)
    p.send(p.bob)
    holds("four", len(p.bob.pq.receiving) == 4)
    p.read(p.send(p.alice))
    holds("two", len(p.bob.pq.receiving) == 2)


def check_epoch_limits():
    p = Pair("epoch limits")
    p.read(p.send(p.alice))
    lost = p.send(p.alice)
    p.read(p.send(p.alice))
    old = p.alice.clone()
    next_epoch(p)
    p.read(p.send(p.alice))
    # An epoch above the newest. Also where the Braid's epoch would not fit into a u32.
    for epoch in (2, 2**32 - 2, 2**32 - 1):
        p.refuse("TooFarAhead", f"PQ epoch {epoch}", forge(p.alice, pq_epoch=epoch))
        p.refuse("TooFarAhead", f"PQ epoch {epoch}", forge(p.alice, pq_epoch=epoch, pq_n=2**32 - 1))
    for number, name in ((0, "PeerRolledBack"), (2**32 - 1, "TooFarAhead")):
        for epoch in (0, 1):
            p.refuse(name, "PQ number", forge(p.alice, pq_epoch=epoch, pq_n=number))

    # The limit is by epoch, an earlier one's chain included.
    position = p.bob.pq.receiving[0].n
    p.refuse("TooFarAhead", "PQ, earlier epoch", forge(p.alice, pq_epoch=0, pq_n=position + 262_145))
    for epoch, ahead in ((0, 262_144), (1, 262_144)):
        work = p.alice.clone()
        if epoch == 0:
            work.pq.sending, work.pq.sending_epoch = old.clone().pq.sending, 0
        behind = p.bob.pq.receiving[epoch].n
        work.pq.sending.skip_to(behind + ahead, keep=0)
        branch = p.bob.clone()
        holds("PQ at its limit", branch.decrypt(forge(work), []) == b"x")
        # There is one EC key, of three messages before. The oldest go first, by epoch and then by number, whenever they came.
        holds("one key", list(branch.pq.skipped) == [(epoch, behind + ahead - 3)])
        refused("TooOld", "key that was older", lambda: branch.decrypt(lost, []), branch)
    branch = p.bob.clone()
    for store, key in ((branch.pq.skipped, 1), (branch.ec_skipped, branch.receiving.serial)):
        store.update({(key, 10_000 + i): bytes(32) for i in range(1_999)})  # full
    work = p.alice.clone()
    work.pq.sending, work.pq.sending_epoch = old.clone().pq.sending, 0
    advance(work.pq.sending, 5)
    holds("content", branch.decrypt(forge(work), []) == b"x")
    holds("keys that come last go first", [n for e, n in sorted(branch.pq.skipped) if e == 0] == [position + 2])
    holds("2,000 keys", len(branch.pq.skipped) == 2_000)

    # A sending chain that is used up ends with the next epoch.
    tired = p.alice.clone()
    tired.pq.sending.n = 2**32 - 1
    refused("CounterExhausted", "PQ chain", lambda: p.send(tired), tired)
    waiting = subrosa.Chain(bytes(32))
    tired.pq.braid = Braid(tired.pq.newest + 1, "Ct2Sampled", bytes(32), bytes(32))
    tired.pq.newest, tired.pq.waiting = tired.pq.newest + 1, waiting
    refused("CounterExhausted", "PQ chain, one waits", lambda: p.send(tired), tired)
    tired.pq.receive(tired.pq.newest + 1, Codewords(), [])
    holds("next sending epoch", tired.pq.sending is waiting and tired.pq.sending_epoch == 2 and p.send(tired))

    # The last epoch: its key comes, the Braid ends, and the sending epoch stays the one before.
    for who in ("alice", "bob"):
        b = Pair("last epoch")
        pq = getattr(b, who).pq
        pq.newest = pq.sending_epoch = 2**32 - 3
        pq.braid = Braid(2**32 - 2, "KeysUnsampled", bytes(32), bytes(32))
        pq._begin(bytes(32), [])
        pq.braid._next_epoch("NoHeaderReceived")
        pq.receive(2**32 - 2, Codewords(), [])
        holds("sending epoch stays", (pq.newest, pq.sending_epoch) == (2**32 - 2, 2**32 - 3) and pq.waiting)
        holds("ended", getattr(b, who).needs_rehandshake)


def check_padding():
    lengths = {0: 256, 217: 256, 218: 512, 473: 512, 474: 1024, 985: 1024, 986: 1088, 2**24 - 39: 2**24}
    for content, body in lengths.items():
        holds("buckets", subrosa.body_length(content, "buckets") == body)
    for content in (0, 11, 12, 2**24 - 39):
        holds("none", subrosa.body_length(content, "none") == max(16, content + 5))
    p = Pair("padding")
    largest = bytes([7]) * (2**24 - 39)
    message = p.alice.encrypt(largest, "buckets", p.rng, [])
    holds("longest message", len(message) == 1 + 68 + 2**24 + 16)
    p.refuse("Malformed", "a byte more than the longest", message + b"\0")
    p.read(message, largest)
    too_long = u32(2**24 - 38) + bytes(2**24 - 4)
    p.refuse("Malformed", "content too long", forge(p.alice, too_long))
    more = largest + b"\0"
    refused("ContentTooLong", "content too long", lambda: p.alice.encrypt(more, "none", p.rng, []), p.alice)


def check_stored_state():
    """That section 14 is complete and consistent. There is no vector: the state is local to a device."""
    key, state = bytes(range(32)), b"state" * 20
    for kind, length in subrosa.CONTEXT_LENGTH.items():
        context = bytes(range(length))
        sealed = subrosa.seal_state(key, kind, context, state)
        holds("length of sealed state", len(sealed) == 1 + 24 + len(state) + 16)
        holds("sealed state", subrosa.open_state(key, kind, context, sealed) == state)
        holds("nonce", subrosa.seal_state(key, kind, context, state + b"x")[1:25] != sealed[1:25])
        for i in range(1, len(sealed)):
            altered = flipped(sealed, i)
            refused("SealBroken", "sealed state", lambda: subrosa.open_state(key, kind, context, altered))
        other = context[:-1] + b"x" if context else b"x"
        refused("SealBroken", "context", lambda: subrosa.open_state(key, kind, other, sealed))
        refused("SealBroken", "storage key", lambda: subrosa.open_state(bytes(32), kind, context, sealed))
        refused("SealBroken", "kind", lambda: subrosa.open_state(key, kind ^ 0x80, context, sealed))
        refused("UnsupportedVersion", "version", lambda: subrosa.open_state(key, kind, context, flipped(sealed, 0, 2)))
        refused("SealBroken", "short", lambda: subrosa.open_state(key, kind, context, sealed[:40]))
        refused("SealBroken", "empty", lambda: subrosa.open_state(key, kind, context, b""))
        renamed = u8(kind ^ 0x10) + sealed[1:]
        refused("SealBroken", "sealed as another kind", lambda: subrosa.open_state(key, kind ^ 0x10, context, renamed))


def check_verification():
    rng = seeded("verification")
    low, high = sorted(ed25519_public(rng(32)) for _ in range(2))
    holds("64 emoji", len(set(subrosa.EMOJI)) == 64 and subrosa.EMOJI == sorted(subrosa.EMOJI))
    one, other = subrosa.SasInitiator(low, high, rng), subrosa.SasInitiator(high, low, rng)
    holds("the lower id stays initiator", not one.yields and other.yields)
    refused("SameUser", "initiator", lambda: subrosa.SasInitiator(low, low, rng))
    refused("SameUser", "responder", lambda: subrosa.SasResponder(low, low, one.message, rng))
    # Reflected, and for another pair or role.
    responder = subrosa.SasResponder(low, high, one.message, rng)
    _, reveal = one.receive(responder.message)
    refused("Unauthentic", "reflected", lambda: responder.receive(reveal))
    # Bytes of another length and version, as text.
    for version in (0x80, 0x82):
        for length in (1, 9, 66, 200):
            code = u8(version) + bytes(length - 1)
            text = subrosa.bech32_text(subrosa.key_words(code), hrp=subrosa.CODE_HRP)
            for scanned in (code, text.encode(), text.upper().encode()):
                holds("other version", subrosa.scan(low, high, scanned) == "OtherVersion")
    text = subrosa.scannable_text(high, low)
    holds("match", subrosa.scan(low, high, text.encode()) == "Match")
    for at in range(len(text)):
        slip = text[:at] + ("Q" if text[at] != "Q" else "P") + text[at + 1 :]
        refused("Malformed", f"text, character {at}", lambda: subrosa.scan(low, high, slip.encode()))


def check_attachments():
    rng = seeded("attachment")
    holds("padded sizes", [subrosa.padded_size(n) for n in (0, 4096, 4097, 65_536, 65_537)] == [4096, 4096, 4352, 65_536, 67_584])
    files = {}
    for size in (0, 1, 65_488, 65_489, 131_008, 200_000):
        content = rng(size)
        file, d = subrosa.seal_attachment(content, rng, [])
        files[size] = file, d
        chunks = subrosa.AttachmentKeys(d.k, size, []).chunks
        for at in {0, 31, 32, 33, len(file) // 2, len(file) - 16, len(file) - 1}:
            name = "WrongKey" if at < 32 else "Altered"
            refused(name, f"file, byte {at}", lambda: subrosa.open_attachment(flipped(file, at), d))
        for cut in (0, 31, 32, len(file) - 1):
            refused("Truncated", f"file, {cut} bytes", lambda: subrosa.open_attachment(file[:cut], d))
        refused("Extended", "file", lambda: subrosa.open_attachment(file + b"x", d))
        if chunks > 2:
            swapped = file[:65_536] + file[131_072:196_608] + file[65_536:131_072] + file[196_608:]
            refused("Altered", "file, chunks swapped", lambda: subrosa.open_attachment(swapped, d))
        other = subrosa.Descriptor(d.k, size, rng(32))
        refused("WrongDigest", "file of another digest", lambda: subrosa.open_attachment(file, other))
        longer = subrosa.Descriptor(d.k, size + 1, d.digest)
        refused("WrongKey", "file of another size", lambda: subrosa.open_attachment(file, longer))
    refused("WrongKey", "another file", lambda: subrosa.open_attachment(files[0][0], files[1][1]))
    d = subrosa.Descriptor(rng(32), 7, rng(32), "a/b", "name", b"thumb")
    encoded = d.encode()
    same("descriptor read", subrosa.Descriptor.decode(encoded), d)
    for n in range(len(encoded)):
        refused("Malformed", f"descriptor, {n} bytes", lambda: subrosa.Descriptor.decode(encoded[:n]))
    refused("Malformed", "descriptor, longer", lambda: subrosa.Descriptor.decode(encoded + b"x"))
    refused("UnsupportedVersion", "version", lambda: subrosa.Descriptor.decode(b"\x72"))
    for changed in (
        {"size": 2**47 + 1}, {"media_type": "a/"}, {"media_type": "/a"}, {"media_type": "ab"}, {"media_type": "é/a"},
        {"media_type": "a/" + "b" * 126}, {"file_name": ".."}, {"file_name": "a/b"}, {"file_name": "a\u202eb"},
        {"thumbnail": bytes(65_537)},
    ):  # fmt: skip
        bad = subrosa.Descriptor(**{**vars(d), **changed}).encode()
        refused("Malformed", f"descriptor, {list(changed)}", lambda: subrosa.Descriptor.decode(bad))


# ---------------------------------------------------------------------------------------------------------------


def main():
    paths = sorted(VECTORS.glob("*.json"))
    missing = REQUIRED - {p.stem for p in paths}
    if missing:
        raise Disagreement(f"missing files: {sorted(missing)}")
    if len(paths) < FEWEST_FILES:
        raise Disagreement(f"only {len(paths)} files")
    steps = sum(replay(p) for p in paths)
    for check in (
        check_text_form, check_keys, check_bundles, check_handshake, check_first_message, check_peer, check_rollback,
        check_skipping, check_expiry, check_kem_halves, check_erasure_code, check_braid, check_braid_end, check_epochs, check_bodies,
        check_codewords, check_old_epochs, check_epoch_limits, check_padding, check_sessions, check_meeting,
        check_stored_state, check_attachments, check_verification,
    ):  # fmt: skip
        check()
    print(f"of our own: {checks} checks, every refusal left the state unchanged")
    print(f"interop: {steps} steps in {len(paths)} files agree")


if __name__ == "__main__":
    main()

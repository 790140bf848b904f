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
from subrosa import (
    AEAD, KIND_INITIAL, KIND_RATCHET, SUITE, XAEAD, Bundle, Header, Identity, Message, Prekeys, PrivatePrekey,
    ProtocolError, Sessions, accept, body_key, encode_body, identity_from_text, identity_text, initiate, u8, u32,
)  # fmt: skip

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
REQUIRED = {"handshake_last_resort", "handshake_one_time", "padding", "refusals", "skips", "turns"}
FEWEST_FILES = 6

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
    "reopen": [set()],
    "snapshot": [set()],
    "restore": [set()],
}
SECRETS = {
    "prekey private key", "prekey KEM seed",
    "EK_A private", "KEM coins", "h1", "DH(EK_A, IK_B)", "DH(EK_A, SPK_B)", "DH(EK_A, OPK_B)", "ss", "ck1",
    "identity key", "h2", "DH(IK_A, SPK_B)", "ck2", "EC root key", "PQ root secret", "header key A->B",
    "next header key B->A", "session id", "PQ root key", "PQ chain key A->B", "PQ chain key B->A",
    "ratchet private key", "DH", "EC chain key", "next header key", "EC message key", "PQ message key",
    "body key and nonce", "header key", "header",
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
        # UnknownSession if its chain had no more keys, TooOld if the rest of its chain was abandoned.
        names = "Duplicate UnknownSession" + " TooOld" * any(c.forgotten == c.length for c in session.closed)
        refused(names, "decrypt, again", lambda: session.decrypt(message, []), session)

    def op_reopen(self, s, who, rng, trace):
        self.sessions[who].reopen(rng)

    def op_snapshot(self, s, who, rng, trace):
        self.snapshots[who] = self.sessions[who].clone()

    def op_restore(self, s, who, rng, trace):
        self.sessions[who] = self.snapshots[who].clone()
        self.sessions[who].reopen(rng)


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
    r, secrets = Replay(), 0
    for i, s in enumerate(file["steps"]):
        try:
            r.step(s)
        except Exception as e:
            raise Disagreement(f"{path.name}, step {i} ({s.get('who')}: {s.get('op')})") from e
        secrets += len(s["secrets"])
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

    def send(self, who, content=b"x"):
        return who.encrypt(content, "none", self.rng, [])

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

    def draw(n):
        return int.from_bytes(rng(4), "big") % n

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
    header = Header(
        subrosa.x25519_public(work.own_private), work.pn, work.sending.chain.n, 0, work.pq_sending.n, work.incarnation
    )
    for name, value in changes.items():
        assert hasattr(header, name)
        setattr(header, name, value)
    raw = header.encode()
    key, nonce = body_key(work.sending.chain.step(), work.pq_sending.step(), raw, [])
    sealed_body = AEAD(key, nonce, work.ad + raw, encode_body(b"x", "none") if body is None else body)
    return prefix + XAEAD(work.sending.header_key, sealed_body[-24:], SUITE + prefix, raw) + sealed_body


def check_peer():
    """What an authenticated peer can send and must not."""
    p = Pair("peer")
    p.read(p.send(p.alice))
    alice = p.alice
    holds("forge", p.bob.clone().decrypt(forge(alice), []) == b"x")
    for what, names, bad in [
        ("PQ epoch", "Malformed", forge(alice, pq_epoch=1)),
        ("ratchet key not canonical", "InvalidKey", forge(alice, ratchet_key=b"\xff" * 32)),
        ("other ratchet key", "PeerRolledBack", forge(alice, ratchet_key=alice.peer_key)),
        ("n far ahead", "TooFarAhead", forge(alice, n=alice.sending.chain.n + 25_001)),
        ("last n", "TooFarAhead", forge(alice, n=2**32 - 1)),
        ("pq_n far ahead", "TooFarAhead", forge(alice, pq_n=alice.pq_sending.n + 262_145)),
        ("pq_n behind", "PeerRolledBack", forge(alice, pq_n=0)),
        ("n that is not the key's", "Unauthentic", forge(alice, n=alice.sending.chain.n + 1)),
        ("n again", "Duplicate", forge(alice, n=0)),
        ("n again, other incarnation", "PeerRolledBack", forge(alice, n=0, incarnation=alice.incarnation ^ 1)),
        ("content length", "Malformed", forge(alice, u32(12) + bytes(12))),
        ("content length, large", "Malformed", forge(alice, b"\xff" * 4 + bytes(12))),
        ("codeword tag", "Malformed", forge(alice, u32(1) + b"x\x20" + bytes(10))),
        ("codeword", "Malformed", forge(alice, u32(1) + b"x\x21" + bytes(34))),
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
        (tired.sending.chain if chain == "sending" else tired.pq_sending).n = 2**32 - 1
        refused("CounterExhausted", f"{chain}: number 2^32 - 1", lambda: p.send(tired), tired)


def jump(session, ec, pq):
    """The message that comes when so many keys of the chains were used up."""
    work = session.clone()
    advance(work.sending.chain, ec)
    advance(work.pq_sending, pq)
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
    p.refuse("Duplicate", "the same number by the first one", p.send(p.alice))

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

    # 16 incarnations are remembered; after that nobody is accused.
    for restarts, name in ((15, "PeerRolledBack"), (16, "Duplicate")):
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
    holds("keys", len(p.bob.ec_skipped) == len(p.bob.pq_skipped) == 2_000)
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
        p.bob.pq_receiving.skip_to(p.bob.pq_receiving.n + rest - 1)  # so that PQ keys are not what is missing
        advance(p.alice.sending.chain, rest - 1)
        advance(p.alice.pq_sending, rest - 1)
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
    advance(p.alice.pq_sending, 30_000)
    p.turn()
    late = [p.send(p.alice) for _ in range(3)]
    p.read(p.send(p.alice))
    holds("PQ keys", len(p.bob.pq_skipped) == 4)
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
    for message in lost[:2]:
        p.refuse("UnknownSession", "oldest closed chain", message)
    for message in lost[2:]:
        p.read(message)
    holds("all read", not p.bob.closed and not p.bob.ec_skipped)


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
        check_skipping, check_padding, check_sessions, check_meeting, check_stored_state,
    ):  # fmt: skip
        check()
    print(f"of our own: {checks} checks, every refusal left the state unchanged")
    print(f"interop: {steps} steps in {len(paths)} files agree")


if __name__ == "__main__":
    main()

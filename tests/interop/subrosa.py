"""Subrosa, suite 1, version 1: an independent implementation, written from docs/SPEC.md alone.

It is an oracle for tests: it aims to say what the document says, in the same order, and neither at speed nor at
constant time. Numbers in comments are sections of the document.

Every function that makes secrets takes `trace`, a list to which it appends [name, hex] as section 16 lists them. Where
it fails, what it appended is of no use.
Every source of randomness is a callable `rng(n) -> n bytes`.
"""

import copy
import functools
import hashlib
import hmac
from dataclasses import dataclass, field

from Crypto.Cipher import ChaCha20_Poly1305 as XChaCha20_Poly1305
from cryptography.exceptions import InvalidSignature as _BadSignature
from cryptography.exceptions import InvalidTag as _BadTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from argon2.low_level import Type as Argon2Type
from argon2.low_level import hash_secret_raw
from blake3 import blake3
from kyber_py.ml_kem import ML_KEM_768, ML_KEM_1024


class ProtocolError(Exception):
    """A refusal. `name` is the name in section 13, 14 or 23; BadLink and BadBackup are the one error of 19 and of 20."""

    NAMES = (
        "Malformed", "UnsupportedVersion", "InvalidKey", "Unauthentic", "InvalidSignature", "Expired", "NotYetValid",
        "Duplicate", "TooOld", "TooFarAhead", "UnknownSession", "PeerRolledBack",
        "UnknownPreKey", "Replayed", "ReplayRecordFull",
        "ContentTooLong", "PayloadTooLong", "CounterExhausted",
        "SealBroken",
        "BadLink", "BadBackup", "SameUser",
        "WrongKey", "Altered", "Truncated", "Extended", "WrongDigest",
    )  # fmt: skip

    def __init__(self, name, why=""):
        assert name in self.NAMES, name
        super().__init__(f"{name}: {why}" if why else name)
        self.name = name


# ---------------------------------------------------------------------------------------------------------------
# 1, 2, 3: notation, primitives, labels

SUITE = b"\x01"
TAG = 16
U32_MAX = 2**32 - 1


def u8(n):
    return n.to_bytes(1, "big")


def u16(n):
    return n.to_bytes(2, "big")


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


def number(b):
    return int.from_bytes(b, "big")


def _label(text):
    return b"Subrosa/1 " + text.encode("ascii") + b"\0"


L_BINDING = _label("identity binding")
L_SIGNED_PREKEY = _label("signed prekey")
L_ONE_TIME_PREKEY = _label("one-time prekey")
L_PREKEY_ID = _label("prekey id")
L_TRANSCRIPT_1 = _label("handshake transcript 1")
L_TRANSCRIPT_2 = _label("handshake transcript 2")
L_SEALED_IDENTITY = _label("sealed identity")
L_SESSION = _label("session secrets")
L_EC_ROOT = _label("ec root")
L_PQ_START = _label("pq start")
L_PQ_EPOCH = _label("pq epoch")
L_PQ_EPOCH_KEY = _label("pq epoch key")
L_AUTHENTICATOR = _label("pq authenticator")
L_KEM_HEADER = _label("kem header")
L_KEM_CIPHERTEXT = _label("kem ciphertext")
L_MESSAGE = _label("message")
L_DEVICE_ID = _label("device id")
L_DEVICE_CLAIM = _label("device claim")
L_DEVICE_LIST = _label("device list")
L_DEVICE_LIST_HASH = _label("device list hash")
L_CERTIFICATE = _label("device certificate")
L_LINK = _label("device link")
L_BACKUP = _label("backup")
L_SAFETY_NUMBER = _label("safety number")
L_SAS_COMMITMENT = _label("sas commitment")
L_SAS_CODE = _label("sas code")
L_ATTACHMENT = _label("attachment")
L_HEDGE_SECRET = _label("hedge secret")
L_HEDGED_PREKEY = _label("hedged prekey")
L_HEDGED_HANDSHAKE = _label("hedged handshake")
L_HEDGED_RATCHET_KEY = _label("hedged ratchet key")
L_HEDGED_KEM = _label("hedged kem")
L_STORAGE = _label("storage")
L_SEALED_STATE = _label("sealed state")


def H(label, m):
    return hashlib.sha256(label + m).digest()


def HMAC(k, m):
    return hmac.digest(k, m, "sha256")


def Extract(salt, ikm):
    return HMAC(salt, ikm)


def Expand(prk, label, info, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = HMAC(prk, block + label + info + u8(i))
        out += block
        i += 1
    return out[:n]


def HKDF(salt, ikm, label, info, n):
    return Expand(Extract(salt, ikm), label, info, n)


def cut(b, *lengths):
    """Cut b into pieces of these lengths, which must add up to all of it."""
    assert len(b) == sum(lengths)
    pieces, at = [], 0
    for n in lengths:
        pieces.append(b[at : at + n])
        at += n
    return pieces


def AEAD(k, nonce, ad, p):
    return ChaCha20Poly1305(k).encrypt(nonce, p, ad)


def open_AEAD(k, nonce, ad, c):
    try:
        return ChaCha20Poly1305(k).decrypt(nonce, c, ad)
    except _BadTag:
        raise ProtocolError("Unauthentic") from None


def XAEAD(k, nonce, ad, p):
    assert len(nonce) == 24
    cipher = XChaCha20_Poly1305.new(key=k, nonce=nonce)
    cipher.update(ad)
    c, tag = cipher.encrypt_and_digest(p)
    return c + tag


def open_XAEAD(k, nonce, ad, c):
    assert len(nonce) == 24
    cipher = XChaCha20_Poly1305.new(key=k, nonce=nonce)
    cipher.update(ad)
    try:
        return cipher.decrypt_and_verify(c[:-TAG], c[-TAG:])
    except ValueError:
        raise ProtocolError("Unauthentic") from None


# X25519. The library masks bit 255 and reduces, so that canonicity is checked here.

P25519 = 2**255 - 19


# u-coordinates of small order, of the curve and its twist.
SMALL_ORDER_25519 = {
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P25519 - 1,
}


def check_x25519_key(u):
    if len(u) != 32 or int.from_bytes(u, "little") >= P25519:  # bit 255 set is above, too
        raise ProtocolError("InvalidKey", "X25519 key not canonical")
    if int.from_bytes(u, "little") in SMALL_ORDER_25519:
        raise ProtocolError("InvalidKey", "X25519 key of small order")


def x25519_public(k):
    return X25519PrivateKey.from_private_bytes(k).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def X25519(k, u):
    check_x25519_key(u)
    try:
        result = X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(u))
    except ValueError:
        raise ProtocolError("InvalidKey", "X25519 key of small order") from None
    if result == bytes(32):
        raise ProtocolError("InvalidKey", "X25519 key of small order")
    return result


# Ed25519. The library compares encodings of R, reduces the hash, and refuses s >= L, but not points of small order.

ED_D = -121665 * pow(121666, -1, P25519) % P25519
ED_L = 2**252 + 27742317777372353535851937790883648493
SQRT_M1 = pow(2, (P25519 - 1) // 4, P25519)


def _ed_decode(b):
    """The point (x, y) of a canonical encoding, RFC 8032 section 5.1.3; None for everything else."""
    if len(b) != 32:
        return None
    sign = b[31] >> 7
    y = int.from_bytes(b, "little") & (2**255 - 1)
    if y >= P25519:
        return None
    u = (y * y - 1) % P25519
    v = (ED_D * y * y + 1) % P25519
    x = u * pow(v, 3, P25519) * pow(u * pow(v, 7, P25519), (P25519 - 5) // 8, P25519) % P25519
    if v * x * x % P25519 == -u % P25519:
        x = x * SQRT_M1 % P25519
    if v * x * x % P25519 != u:
        return None
    if x == 0 and sign:
        return None
    return (P25519 - x if x % 2 != sign else x), y


def _ed_add(p, q):
    (x1, y1), (x2, y2) = p, q
    k = ED_D * x1 * x2 * y1 * y2 % P25519
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P25519) % P25519
    y = (y1 * y2 + x1 * x2) * pow(1 - k, -1, P25519) % P25519
    return x, y


def _ed_large_order(b):
    """Whether b canonically encodes a point that is none of the eight of small order."""
    p = _ed_decode(b)
    if p is None:
        return False
    for _ in range(3):
        p = _ed_add(p, p)
    return p != (0, 1)


def check_ed25519_key(b):
    if not _ed_large_order(b):
        raise ProtocolError("InvalidKey", "Ed25519 key")


def ed25519_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed25519_sign(seed, m):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(m)


def ed25519_verify(key, signature, m):
    """Strict verification of section 2; `key` has passed check_ed25519_key."""
    R, s = cut(signature, 32, 32)
    if int.from_bytes(s, "little") >= ED_L or not _ed_large_order(R):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, m)
    except _BadSignature:
        return False
    return True


# ML-KEM-1024. ML-KEM-768 is at 8.5.

KEM_KEY = KEM_CIPHERTEXT = 1568
Q = 3329


def byte_encode(d, f):
    """ByteEncode_d: d bits of each coefficient, from the lowest bit of the first byte on."""
    return sum(c << d * i for i, c in enumerate(f)).to_bytes(d * len(f) // 8, "little")


def byte_decode(d, b):
    """The same backwards, not reduced modulo q."""
    n = int.from_bytes(b, "little")
    return [n >> d * i & (1 << d) - 1 for i in range(8 * len(b) // d)]


def passes_modulus_check(vector):
    """FIPS 203 section 7.2, of an encapsulation key without its last 32 bytes."""
    return all(c < Q for i in range(0, len(vector), 384) for c in byte_decode(12, vector[i : i + 384]))


def check_kem_key(ek):
    assert len(ek) == KEM_KEY
    if not passes_modulus_check(ek[:-32]):
        raise ProtocolError("InvalidKey", "ML-KEM modulus check")


def kem_public(seed):
    return ML_KEM_1024.key_derive(seed)[0]


def kem_encaps(ek, coins):
    """(ciphertext, shared secret), deterministic: FIPS 203 algorithm 17."""
    check_kem_key(ek)
    ss, ct = ML_KEM_1024._encaps_internal(ek, coins)
    return ct, ss


def kem_decaps(seed, ct):
    return ML_KEM_1024.decaps(ML_KEM_1024.key_derive(seed)[1], ct)


def note(trace, name, value):
    trace.append([name, value.hex()])


# ---------------------------------------------------------------------------------------------------------------
# 4: identities


def check_identity_key(ik):
    if len(ik) != 64:
        raise ProtocolError("Malformed", "identity key")
    check_ed25519_key(ik[:32])
    check_x25519_key(ik[32:])


def binding_is_valid(ik, binding):
    return ed25519_verify(ik[:32], binding, L_BINDING + SUITE + ik)


@dataclass
class Identity:
    ed_seed: bytes
    x_private: bytes

    @classmethod
    def generate(cls, rng):
        ed_seed = rng(32)
        return cls(ed_seed, rng(32))

    @property
    def key(self):
        return ed25519_public(self.ed_seed) + x25519_public(self.x_private)

    @property
    def binding(self):
        return self.sign(L_BINDING + SUITE + self.key)

    @property
    def hedge_secret(self):  # 15
        return HKDF(self.ed_seed, self.x_private, L_HEDGE_SECRET, b"", 32)

    def sign(self, m):
        return ed25519_sign(self.ed_seed, m)


BECH32_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32M = 0x2BC830A3
HRP = "srid"


def _bech32_polymod(values):
    c = 1
    for v in values:
        top = c >> 25
        c = (c & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> i & 1:
                c ^= g
    return c


def _bech32_hrp(hrp):
    return [ord(x) >> 5 for x in hrp] + [0] + [ord(x) & 31 for x in hrp]


def bech32_text(words, constant=BECH32M, hrp=HRP):
    """The text of 5-bit words. Another constant makes other checksums, for tests."""
    check = _bech32_polymod(_bech32_hrp(hrp) + words + [0] * 6) ^ constant
    words = words + [check >> 5 * (5 - i) & 31 for i in range(6)]
    return hrp + "1" + "".join(BECH32_ALPHABET[w] for w in words)


def key_words(b):
    """5-bit words: 103 of 64 bytes, the last with 3 bits of padding, and 52 of 32 bytes, the last with 4."""
    padding = -8 * len(b) % 5
    n, count = number(b) << padding, (8 * len(b) + padding) // 5
    return [n >> 5 * (count - 1 - i) & 31 for i in range(count)]


def identity_words(ik):
    return key_words(ik)


def identity_text(ik):
    return bech32_text(identity_words(ik))


def bytes_from_text(text, hrp, length):
    """The bytes of a text form of this human-readable part and of so many bytes."""
    padding = -8 * length % 5
    if len(text) != len(hrp) + 1 + (8 * length + padding) // 5 + 6:
        raise ProtocolError("Malformed", "length")
    if text not in (text.lower(), text.upper()) or not text.isascii():
        raise ProtocolError("Malformed", "mixed case")
    text = text.lower()
    if not text.startswith(hrp + "1"):
        raise ProtocolError("Malformed", "human-readable part")
    words = [BECH32_ALPHABET.find(x) for x in text[len(hrp) + 1 :]]
    if -1 in words or _bech32_polymod(_bech32_hrp(hrp) + words) != BECH32M:
        raise ProtocolError("Malformed", "character or checksum")
    n = 0
    for w in words[:-6]:
        n = n << 5 | w
    if n & (1 << padding) - 1:
        raise ProtocolError("Malformed", "padding bits")
    return (n >> padding).to_bytes(length, "big")


def identity_from_text(text):
    ik = bytes_from_text(text, HRP, 64)
    check_identity_key(ik)
    return ik


# ---------------------------------------------------------------------------------------------------------------
# 5: prekeys and bundles

KIND_INITIAL, KIND_RATCHET, KIND_BUNDLE, KIND_SIGNED, KIND_ONE_TIME = 0x11, 0x21, 0x31, 0x41, 0x51

DAY = 24 * 60 * 60
VALID_FOR = 30 * DAY
KEPT_FOR = 37 * DAY
MAX_SIGNED = 16
REPLAY_RECORD = 16384


def check_kind(b, *expected):
    """The first byte of b must be one of these. Of these kinds another version is UnsupportedVersion."""
    if not b:
        raise ProtocolError("Malformed", "empty")
    if b[0] in expected:
        return b[0]
    if b[0] >> 4 in [e >> 4 for e in expected]:
        raise ProtocolError("UnsupportedVersion")
    raise ProtocolError("Malformed", "kind")


def prekey_id(record):
    return H(L_PREKEY_ID, record)[:8]


@dataclass
class PublicPrekey:
    """A signed or one-time prekey as it travels."""

    record: bytes
    signature: bytes
    label: bytes

    @property
    def id(self):
        return prekey_id(self.record)

    @property
    def x_key(self):
        return self.record[1:33]

    @property
    def kem_key(self):
        return self.record[33 : 33 + KEM_KEY]

    @property
    def not_after(self):
        assert self.label == L_SIGNED_PREKEY
        return number(self.record[-8:])

    def encode(self):
        return self.record + self.signature

    def verify(self, ik):
        if not ed25519_verify(ik[:32], self.signature, self.label + SUITE + self.record + ik):
            raise ProtocolError("InvalidSignature")


@dataclass
class Bundle:
    ik: bytes
    signed: PublicPrekey
    one_time: PublicPrekey | None

    def encode(self):
        b = u8(KIND_BUNDLE) + self.ik + self.signed.encode()
        return b + (b"\1" + self.one_time.encode() if self.one_time else b"\0")

    @classmethod
    def decode(cls, b):
        """From front to back: what is wrong first decides."""
        check_kind(b, KIND_BUNDLE)
        left = b[1:]

        def take(n):
            nonlocal left
            if len(left) < n:
                raise ProtocolError("Malformed", "bundle too short")
            taken, left = left[:n], left[n:]
            return taken

        def prekey(kind, label, behind):
            check_kind(left, kind)
            record = take(1) + take(32)
            check_x25519_key(record[1:])
            record += take(KEM_KEY)
            check_kem_key(record[33:])
            record += take(behind)
            return PublicPrekey(record, take(64), label)

        ik = take(64)
        check_identity_key(ik)
        signed = prekey(KIND_SIGNED, L_SIGNED_PREKEY, 8)
        flag = take(1)[0]
        if flag > 1:
            raise ProtocolError("Malformed", "bundle flag")
        one_time = prekey(KIND_ONE_TIME, L_ONE_TIME_PREKEY, 0) if flag else None
        if left:
            raise ProtocolError("Malformed", "bundle too long")
        return cls(ik, signed, one_time)

    def verify(self, now):
        """Of a bundle that was decoded."""
        for prekey in [self.signed] + ([self.one_time] if self.one_time else []):
            prekey.verify(self.ik)
        if now > self.signed.not_after:
            raise ProtocolError("Expired")
        if self.signed.not_after > now + 37 * 86_400:
            raise ProtocolError("NotYetValid")


@dataclass
class PrivatePrekey:
    x_private: bytes
    kem_seed: bytes
    public: PublicPrekey
    made: int | None = None  # of a signed prekey
    replays: set = field(default_factory=set)  # of a signed prekey

    @classmethod
    def generate(cls, identity, rng, trace, made=None):
        if made is None:
            kind, behind, label = u8(KIND_ONE_TIME), b"", L_ONE_TIME_PREKEY
        else:
            kind, behind, label = u8(KIND_SIGNED), u64(made + VALID_FOR), L_SIGNED_PREKEY
        drawn = HKDF(rng(32), identity.hedge_secret, L_HEDGED_PREKEY, kind + behind, 96)  # 15
        x_private, kem_seed = cut(drawn, 32, 64)
        note(trace, "prekey private key", x_private)
        note(trace, "prekey KEM seed", kem_seed)
        record = kind + x25519_public(x_private) + kem_public(kem_seed) + behind
        signature = identity.sign(label + SUITE + record + identity.key)
        return cls(x_private, kem_seed, PublicPrekey(record, signature, label), made)


@dataclass
class Prekeys:
    """What a responder keeps. The newest signed prekey is the last."""

    signed: list
    one_time: list
    published: int = 0  # how many one-time prekeys went into bundles

    @classmethod
    def generate(cls, identity, rng, now, one_time, trace):
        signed = PrivatePrekey.generate(identity, rng, trace, now)
        return cls([signed], [PrivatePrekey.generate(identity, rng, trace) for _ in range(one_time)])

    def rotate(self, identity, rng, now):
        for s in self.signed:
            s.made = min(s.made, now)
        self.signed = [s for s in self.signed if now < s.made + KEPT_FOR]
        self.signed.append(PrivatePrekey.generate(identity, rng, [], now))
        del self.signed[:-MAX_SIGNED]

    def bundle(self, identity):
        """The next bundle: with an unused one-time prekey, as long as there are any."""
        one_time = None
        if self.published < len(self.one_time):
            one_time = self.one_time[self.published].public
            self.published += 1
        return Bundle(identity.key, self.signed[-1].public, one_time)

    def delete_one_time(self, prekey):
        at = self.one_time.index(prekey)
        del self.one_time[at]
        if at < self.published:
            self.published -= 1


# ---------------------------------------------------------------------------------------------------------------
# 6: messages on the wire

MAX_CONTENT = 2**24 - 39
MAX_PAYLOAD = 512
MIN_BODY = 16
MAX_BODY = 2**24
HEADER = 52
SEALED_HEADER = HEADER + TAG
CHUNK = 32
CODEWORD = 2 + CHUNK
MAX_CODEWORDS = 31
NONE, HEADER_TYPE, VECTOR, VECTOR_ACK, CT1, CT2 = range(6)  # types of codewords
VALUE_CHUNKS = {HEADER_TYPE: 3, VECTOR: 36, VECTOR_ACK: 36, CT1: 30, CT2: 5}  # k


@dataclass
class Handshake:
    """A handshake part: its bytes and its pieces."""

    raw: bytes
    signed_id: bytes
    one_time_id: bytes | None
    ek_a: bytes
    ct: bytes
    c: bytes

    @staticmethod
    def encode(signed_id, one_time_id, ek_a, ct, c):
        flag = b"\0" if one_time_id is None else b"\1" + one_time_id
        return signed_id + flag + ek_a + ct + u16(len(c) - 144) + c


@dataclass
class Message:
    prefix: bytes  # every byte before the header
    handshake: Handshake | None
    sealed_header: bytes
    sealed_body: bytes

    @property
    def nonce(self):
        return self.sealed_body[-24:]

    @property
    def header_ad(self):
        return SUITE + self.prefix

    @classmethod
    def decode(cls, b):
        kind = check_kind(b, KIND_INITIAL, KIND_RATCHET)
        at = 1

        def take(n):
            nonlocal at
            if len(b) - at < n:
                raise ProtocolError("Malformed", "message too short")
            at += n
            return b[at - n : at]

        handshake = None
        if kind == KIND_INITIAL:
            signed_id = take(8)
            flag = take(1)[0]
            if flag > 1:
                raise ProtocolError("Malformed", "flag")
            one_time_id = take(8) if flag else None
            ek_a = take(32)
            ct = take(KEM_CIPHERTEXT)
            payload_length = number(take(2))
            if payload_length > MAX_PAYLOAD:
                raise ProtocolError("Malformed", "payload length")
            c = take(144 + payload_length)
            handshake = Handshake(b[1:at], signed_id, one_time_id, ek_a, ct, c)
        prefix = b[:at]
        sealed_header = take(SEALED_HEADER)
        sealed_body = b[at:]
        if not MIN_BODY + TAG <= len(sealed_body) <= MAX_BODY + TAG:
            raise ProtocolError("Malformed", "body length")
        return cls(prefix, handshake, sealed_header, sealed_body)


@dataclass
class Header:
    ratchet_key: bytes
    pn: int
    n: int
    pq_epoch: int
    pq_n: int
    incarnation: int

    def encode(self):
        return self.ratchet_key + b"".join(map(u32, (self.pn, self.n, self.pq_epoch, self.pq_n, self.incarnation)))

    @classmethod
    def decode(cls, b):
        key, *numbers = cut(b, 32, 4, 4, 4, 4, 4)
        return cls(key, *map(number, numbers))


@dataclass
class Codewords:
    """Those of one message, all of one type: [(index, chunk)]."""

    type: int = NONE
    list: list = field(default_factory=list)


def bucket(content_length):
    m = content_length + 5 + CODEWORD  # room for one codeword is always reserved
    for size in (256, 512, 1024):
        if m <= size:
            return size
    e = m.bit_length() - 1
    s = e.bit_length()  # floor(log2 e) + 1
    step = 1 << (e - s)
    return -(-m // step) * step


def body_length(content_length, padding, count=0):
    if padding == "none":
        return max(content_length + 5 + CODEWORD * count, MIN_BODY)
    assert padding == "buckets"
    return bucket(content_length)


def room(content_length, padding):
    """How many codewords a message may carry."""
    if padding == "none":
        return 1
    return min(MAX_CODEWORDS, (bucket(content_length) - content_length - 5) // CODEWORD)


def encode_body(content, padding, codewords=Codewords()):
    count = len(codewords.list)
    body = u32(len(content)) + content + u8(codewords.type << 5 | count)
    body += b"".join(u16(index) + chunk for index, chunk in codewords.list)
    return body.ljust(body_length(len(content), padding, count), b"\0")


def decode_body(body):
    """(content, codewords)"""
    length = number(body[:4])
    if length > MAX_CONTENT or length + 5 > len(body):
        raise ProtocolError("Malformed", "content length")
    content, tag, left = body[4 : 4 + length], body[4 + length], body[5 + length :]
    kind, count = tag >> 5, tag & 31
    if kind > CT2 or (kind == NONE) != (count == 0):
        raise ProtocolError("Malformed", "codeword tag")
    if len(left) < CODEWORD * count:
        raise ProtocolError("Malformed", "codewords")
    codewords = Codewords(kind)
    for _ in range(count):
        index, chunk, left = cut(left, 2, CHUNK, len(left) - CODEWORD)
        codewords.list.append((number(index), chunk))
    if any(left):
        raise ProtocolError("Malformed", "padding")
    return content, codewords


# ---------------------------------------------------------------------------------------------------------------
# 7: handshake


@dataclass
class Secrets:
    """What both sides have after the handshake."""

    handshake: bytes  # the handshake part
    ad: bytes
    ec_root: bytes
    hk_ab: bytes
    hk_ba: bytes
    session_id: bytes
    pq_secret: bytes


def transcript_1(ik_b, signed_record, one_time_record, ek_a, ct):
    flag = b"\0" if one_time_record is None else b"\1" + one_time_record
    return H(L_TRANSCRIPT_1, SUITE + ik_b + signed_record + flag + ek_a + ct)


def chain_key_1(h1, dh_identity, dh_signed, dh_one_time, ss, trace):
    ck1 = Extract(h1, dh_identity + dh_signed + dh_one_time + ss)
    note(trace, "DH(EK_A, IK_B)", dh_identity)
    note(trace, "DH(EK_A, SPK_B)", dh_signed)
    note(trace, "DH(EK_A, OPK_B)", dh_one_time)
    note(trace, "ss", ss)
    note(trace, "ck1", ck1)
    k = Expand(ck1, L_SEALED_IDENTITY, b"", 32)
    note(trace, "identity key", k)
    return ck1, k


def session_secrets(handshake, h1, ck1, c, ik_a, dh, trace):
    h2 = H(L_TRANSCRIPT_2, h1 + c + ik_a)
    note(trace, "h2", h2)
    note(trace, "DH(IK_A, SPK_B)", dh)
    ck2 = Extract(ck1, dh)
    note(trace, "ck2", ck2)
    secrets = cut(Expand(ck2, L_SESSION, h2, 160), 32, 32, 32, 32, 32)
    ec_root, pq_secret, hk_ab, hk_ba, session_id = secrets
    names = "EC root key", "PQ root secret", "header key A->B", "next header key B->A", "session id"
    for name, secret in zip(names, secrets):
        note(trace, name, secret)
    return Secrets(handshake, h2, ec_root, hk_ab, hk_ba, session_id, pq_secret)


def initiate(identity, bundle, payload, now, rng, trace):
    """A session of the initiator, from a bundle not yet verified."""
    if len(payload) > MAX_PAYLOAD:
        raise ProtocolError("PayloadTooLong")
    bundle.verify(now)
    signed, one_time = bundle.signed, bundle.one_time

    hedged = HKDF(
        rng(32), identity.hedge_secret, L_HEDGED_HANDSHAKE,
        bundle.ik + signed.id + (one_time.id if one_time else bytes(8)) + payload, 64,
    )  # fmt: skip
    ek_private, coins = cut(hedged, 32, 32)
    note(trace, "EK_A private", ek_private)
    note(trace, "KEM coins", coins)

    ek_a = x25519_public(ek_private)
    ct, ss = kem_encaps((one_time or signed).kem_key, coins)
    h1 = transcript_1(bundle.ik, signed.record, one_time.record if one_time else None, ek_a, ct)
    note(trace, "h1", h1)
    ck1, k = chain_key_1(
        h1,
        X25519(ek_private, bundle.ik[32:]),
        X25519(ek_private, signed.x_key),
        X25519(ek_private, one_time.x_key) if one_time else b"",
        ss,
        trace,
    )
    c = AEAD(k, bytes(12), h1, identity.key + identity.binding + payload)
    raw = Handshake.encode(signed.id, one_time.id if one_time else None, ek_a, ct, c)
    dh = X25519(identity.x_private, signed.x_key)
    secrets = session_secrets(raw, h1, ck1, c, identity.key, dh, trace)
    session = Session.of_initiator(secrets, bundle.ik, signed.x_key, trace)
    session.incarnation = number(rng(4))
    return session


def accept(identity, prekeys, message, rng, trace):
    """(session, content, payload) of the first message of a session. Changes `prekeys` only if all is well."""
    m = Message.decode(message)
    hs = m.handshake
    if hs is None:
        raise ProtocolError("UnknownSession", "a ratchet message")

    check_x25519_key(hs.ek_a)
    signed = next((s for s in prekeys.signed if s.public.id == hs.signed_id), None)
    one_time = None
    if hs.one_time_id is not None:
        one_time = next((o for o in prekeys.one_time if o.public.id == hs.one_time_id), None)
    if signed is None or (hs.one_time_id is not None and one_time is None):
        raise ProtocolError("UnknownPreKey")

    record = one_time.public.record if one_time else None
    h1 = transcript_1(identity.key, signed.public.record, record, hs.ek_a, hs.ct)
    note(trace, "h1", h1)
    if one_time is None:
        if h1[:16] in signed.replays:
            raise ProtocolError("Replayed")
        if len(signed.replays) >= REPLAY_RECORD:
            raise ProtocolError("ReplayRecordFull")

    ck1, k = chain_key_1(
        h1,
        X25519(identity.x_private, hs.ek_a),
        X25519(signed.x_private, hs.ek_a),
        X25519(one_time.x_private, hs.ek_a) if one_time else b"",
        kem_decaps((one_time or signed).kem_seed, hs.ct),
        trace,
    )
    try:
        opened = open_AEAD(k, bytes(12), h1, hs.c)
        ik_a, binding_a, payload = cut(opened, 64, 64, len(opened) - 128)
        check_identity_key(ik_a)
        if not binding_is_valid(ik_a, binding_a):
            raise ProtocolError("Unauthentic", "binding")
        dh = X25519(signed.x_private, ik_a[32:])
        secrets = session_secrets(hs.raw, h1, ck1, hs.c, ik_a, dh, trace)
    except ProtocolError as e:
        raise ProtocolError("Unauthentic", str(e)) from None

    session = Session.of_responder(secrets, ik_a, signed.x_private, trace)
    try:
        content = session.decrypt(message, trace)
    except ProtocolError as e:
        if e.name == "UnknownSession":  # the header did not open
            raise ProtocolError("Unauthentic", str(e)) from None
        raise
    session.incarnation = number(rng(4))
    if one_time:
        prekeys.delete_one_time(one_time)
    else:
        signed.replays.add(h1[:16])
    return session, content, payload


# ---------------------------------------------------------------------------------------------------------------
# 8: ratchet

MAX_EC_SKIP = 25_000
MAX_PQ_SKIP = 262_144
MAX_SKIPPED = 2_000
MAX_CLOSED = 40
MAX_LATE_TURNS = 2_000
MAX_LATE = 25_000
MAX_INCARNATIONS = 32
MAX_PQ_EPOCHS = 256
LAST_BRAID_EPOCH = 2**32 - 2


@dataclass
class Chain:
    """A symmetric chain: the next number and its chain key."""

    ck: bytes
    n: int = 0

    def step(self):
        """The message key of the next number."""
        assert self.n < U32_MAX
        mk = HMAC(self.ck, b"\1" + u32(self.n))
        self.ck = HMAC(self.ck, b"\2" + u32(self.n))
        self.n += 1
        return mk

    def skip_to(self, n, keep=MAX_SKIPPED):
        """Step to n. Gives {number: key} of the newest `keep` keys skipped over."""
        return self.skip_for(n, range(n - keep, n))

    def skip_for(self, n, wanted):
        """Step to n. Gives {number: key} of the keys skipped over that are wanted."""
        kept = {}
        while self.n < n:
            number_of_key = self.n
            mk = self.step()
            if number_of_key in wanted:
                kept[number_of_key] = mk
        return kept


@dataclass
class Receiving:
    """A receiving chain of the EC ratchet, current or closed."""

    serial: int  # counts receiving chains: a lower one is older
    start: int  # how many messages the peer sent before
    header_key: bytes
    ratchet_key: bytes
    chain: Chain | None  # None when closed
    length: int | None = None  # when closed: the pn that closed it, or its position if that was greater
    forgotten: int = 0  # the highest number whose key was discarded unused, plus one
    incarnations: dict = field(default_factory=dict)  # incarnation: (lowest, highest number); first seen longest ago first

    def see(self, incarnation, n):
        lowest, highest = self.incarnations.get(incarnation, (n, n))
        self.incarnations[incarnation] = min(n, lowest), max(n, highest)
        if len(self.incarnations) > MAX_INCARNATIONS:
            del self.incarnations[next(iter(self.incarnations))]


@dataclass
class Sending:
    header_key: bytes
    chain: Chain


# 8.6: erasure code

GF_ORDER = 2**16 - 1


def _gf_tables():
    """Powers of x, twice over, and their logarithms."""
    exp, log, power = [], [None] * 2**16, 1
    for i in range(GF_ORDER):
        exp.append(power)
        log[power] = i
        power <<= 1
        if power >> 16:
            power ^= 0x1100B
    assert power == 1 and log.count(None) == 1  # x generates all but zero
    return exp + exp, log


GF_EXP, GF_LOG = _gf_tables()


@functools.cache
def _denominators(indices):
    """The logarithm of the product of all i - j, for each i."""
    return [sum(GF_LOG[i ^ j] for j in indices if j != i) for i in indices]


def interpolate(known, x):
    """Codeword x of the value that has these: {index: chunk}."""
    if x in known:
        return known[x]
    numerator = sum(GF_LOG[x ^ j] for j in known)
    lanes = [0] * (CHUNK // 2)
    for (i, chunk), denominator in zip(known.items(), _denominators(tuple(known))):
        factor = (numerator - GF_LOG[x ^ i] - denominator) % GF_ORDER
        for lane in range(CHUNK // 2):
            element = number(chunk[2 * lane : 2 * lane + 2])
            if element:
                lanes[lane] ^= GF_EXP[factor + GF_LOG[element]]
    return b"".join(map(u16, lanes))


def codeword(value, index):
    return interpolate({i: value[CHUNK * i : CHUNK * i + CHUNK] for i in range(len(value) // CHUNK)}, index)


def recover(known):
    """The value, from k codewords."""
    return b"".join(interpolate(known, i) for i in range(len(known)))


@dataclass
class Stream:
    """The codewords of a value that is sent."""

    value: bytes
    next: int = 0

    @property
    def k(self):
        return len(self.value) // CHUNK

    def skip(self, count):
        self.next = (self.next + count) % (2 * self.k + 1)  # the last index is 2k

    def take(self, count):
        taken = []
        for _ in range(min(count, self.k)):
            taken.append((self.next, codeword(self.value, self.next)))
            self.skip(1)
        return taken


# 8.5: ML-KEM-768 in halves. The library makes keys and decapsulates; the steps of K-PKE.Encrypt are here, since it
# does them in one.

KEM_RANK = 3
ZETAS = [pow(17, int(f"{i:07b}"[::-1], 2), Q) for i in range(128)]


def ntt(f):
    f, i, half = f[:], 1, 128
    while half >= 2:
        for start in range(0, 256, 2 * half):
            for j in range(start, start + half):
                t = ZETAS[i] * f[j + half]
                f[j], f[j + half] = (f[j] + t) % Q, (f[j] - t) % Q
            i += 1
        half //= 2
    return f


def ntt_inverse(f):
    f, i, half = f[:], 127, 2
    while half <= 128:
        for start in range(0, 256, 2 * half):
            for j in range(start, start + half):
                f[j], f[j + half] = (f[j] + f[j + half]) % Q, ZETAS[i] * (f[j + half] - f[j]) % Q
            i -= 1
        half *= 2
    return [c * 3303 % Q for c in f]  # 3303 = 1/128


def ntt_dot(fs, gs):
    """The scalar product of two vectors, each polynomial in the NTT's domain."""
    h = [0] * 256
    for f, g in zip(fs, gs):
        for i in range(0, 256, 2):
            gamma = ZETAS[64 + i // 4] * (-1 if i & 2 else 1)
            h[i] += f[i] * g[i] + f[i + 1] * g[i + 1] * gamma
            h[i + 1] += f[i] * g[i + 1] + f[i + 1] * g[i]
    return [c % Q for c in h]


def poly_sum(*fs):
    return [sum(cs) % Q for cs in zip(*fs)]


def sample_ntt(seed):
    """Rejection sampling from SHAKE128: 12 bits at a time."""
    length = 672
    while True:
        f = [c for c in byte_decode(12, hashlib.shake_128(seed).digest(length)) if c < Q]
        if len(f) >= 256:
            return f[:256]
        length *= 2


def sample_noise(r, counter):
    """The centered binomial distribution with eta = 2: of four bits, the first two less the last two."""
    fours = byte_decode(4, hashlib.shake_256(r + u8(counter)).digest(128))
    return [(x & 1) + (x >> 1 & 1) - (x >> 2 & 1) - (x >> 3) for x in fours]


def compress(d, f):
    return [((c << d + 1) + Q) // (2 * Q) % (1 << d) for c in f]


def kem_key_pair(seed):
    """(header, vector)"""
    ek = ML_KEM_768.key_derive(seed)[0]
    return ek[1152:] + hashlib.sha3_256(ek).digest(), ek[:1152]


def _kem_secrets(header, coins):
    """(K, r, y in the NTT's domain), from the header and m."""
    K, r = cut(hashlib.sha3_512(coins + header[32:]).digest(), 32, 32)
    return K, r, [ntt(sample_noise(r, n)) for n in range(KEM_RANK)]


def kem_first_half(header, coins):
    """(ct1, K)"""
    K, r, y = _kem_secrets(header, coins)
    ct1 = b""
    for i in range(KEM_RANK):
        column = [sample_ntt(header[:32] + u8(i) + u8(j)) for j in range(KEM_RANK)]  # A[j][i] is from rho | i | j
        u = poly_sum(ntt_inverse(ntt_dot(column, y)), sample_noise(r, KEM_RANK + i))
        ct1 += byte_encode(10, compress(10, u))
    return ct1, K


def vector_is_valid(header, vector):
    return hashlib.sha3_256(vector + header[:32]).digest() == header[32:] and passes_modulus_check(vector)


def kem_second_half(header, coins, vector):
    """ct2, of a vector that is valid."""
    _, r, y = _kem_secrets(header, coins)
    t = [byte_decode(12, vector[384 * i : 384 * i + 384]) for i in range(KEM_RANK)]
    message = [(Q + 1) // 2 * bit for bit in byte_decode(1, coins)]
    v = poly_sum(ntt_inverse(ntt_dot(t, y)), sample_noise(r, 2 * KEM_RANK), message)
    return byte_encode(4, compress(4, v))


def kem_decaps_halves(seed, ct1, ct2):
    return ML_KEM_768.decaps(ML_KEM_768.key_derive(seed)[1], ct1 + ct2)


# 8.4: ML-KEM Braid


@dataclass
class Braid:
    epoch: int
    state: str
    root: bytes | None  # of the authenticator, as is mac
    mac: bytes | None
    seed: bytes | None = None  # of the own key pair
    header: bytes | None = None  # of the peer's key
    coins: bytes | None = None
    ct1: bytes | None = None  # the own one, or the peer's
    ct2: bytes | None = None  # the own one, and its MAC
    stream: Stream | None = None
    collected: dict = field(default_factory=dict)  # what has come of the value that is collected: {index: chunk}

    @classmethod
    def start(cls, initiator, pq_secret, trace):
        braid = cls(1, "KeysUnsampled" if initiator else "NoHeaderReceived", bytes(32), None)
        braid._update(pq_secret, trace)
        return braid

    @property
    def samples(self):
        """Whether the next message that is sent takes randomness."""
        return self.state in ("KeysUnsampled", "HeaderReceived")

    def _update(self, x, trace):
        self.root, self.mac = cut(HKDF(self.root, x, L_AUTHENTICATOR, u32(self.epoch), 64), 32, 32)
        note(trace, "authenticator root", self.root)
        note(trace, "authenticator MAC key", self.mac)

    def _mac_header(self, header):
        return HMAC(self.mac, L_KEM_HEADER + u32(self.epoch) + header)

    def _mac_ciphertext(self, ct2):
        return HMAC(self.mac, L_KEM_CIPHERTEXT + u32(self.epoch) + self.ct1 + ct2)

    def _epoch_key(self, K, trace):
        """It goes into the authenticator, too."""
        key = HKDF(bytes(32), K, L_PQ_EPOCH_KEY, u32(self.epoch), 32)
        note(trace, "KEM shared secret", K)
        note(trace, "PQ epoch key", key)
        self._update(key, trace)
        return key

    def _next_epoch(self, state):
        if self.epoch == LAST_BRAID_EPOCH:
            self._end()
        else:
            self.__dict__.update(Braid(self.epoch + 1, state, self.root, self.mac).__dict__)

    def _end(self):
        self.__dict__.update(Braid(self.epoch, "Ended", None, None).__dict__)

    # Sending

    def send(self, room, drawn, trace):
        """(codewords, the epoch key if it is put out)"""
        key = None
        if self.state == "KeysUnsampled":
            self.seed, self.state = drawn, "KeysSampled"  # 1
            header = kem_key_pair(self.seed)[0]
            mac = self._mac_header(header)
            note(trace, "KEM seed", self.seed)
            note(trace, "KEM header", header)
            note(trace, "KEM header MAC", mac)
            self.stream = Stream(header + mac)
        elif self.state == "HeaderReceived":
            self.coins, self.state = drawn[:32], "Ct1Sampled"  # 7
            note(trace, "KEM coins", self.coins)
            self.ct1, K = kem_first_half(self.header, self.coins)
            key = self._epoch_key(K, trace)
            self.stream = Stream(self.ct1)
        kind = {
            "KeysSampled": HEADER_TYPE, "HeaderSent": VECTOR, "Ct1Received": VECTOR_ACK,
            "Ct1Sampled": CT1, "EkReceivedCt1Sampled": CT1, "Ct2Sampled": CT2,
        }.get(self.state, NONE)  # fmt: skip
        return (Codewords(kind, self.stream.take(room)) if kind else Codewords()), key

    def skip(self, count):
        """So many messages with one codeword each."""
        if self.stream:
            self.stream.skip(count)

    # Receiving

    def receive(self, epoch, codewords, trace):
        """The epoch key if it is put out. `epoch` is that of the message."""
        if self.state == "Ct2Sampled" and epoch == self.epoch + 1:
            self._next_epoch("KeysUnsampled")  # 13
            return None
        if epoch != self.epoch or self.state == "Ended":
            return None
        act = getattr(self, "_in_" + self.state, None)
        return act(codewords, trace) if act else None

    def _collect(self, codewords):
        """The value, if it is complete."""
        k = VALUE_CHUNKS[codewords.type]
        for index, chunk in codewords.list:
            if len(self.collected) < k:
                self.collected.setdefault(index, chunk)
        if len(self.collected) < k:
            return None
        value, self.collected = recover(self.collected), {}
        return value

    def _in_KeysSampled(self, codewords, trace):
        if codewords.type == CT1:
            self.state = "HeaderSent"  # 2
            self.stream = Stream(kem_key_pair(self.seed)[1])
            self._in_HeaderSent(codewords, trace)

    def _in_HeaderSent(self, codewords, trace):
        if codewords.type == CT1:
            self.ct1 = self._collect(codewords)
            if self.ct1:
                self.state = "Ct1Received"  # 3

    def _in_Ct1Received(self, codewords, trace):
        if codewords.type == CT2:
            self.state, self.stream = "EkSentCt1Received", None  # 4
            return self._in_EkSentCt1Received(codewords, trace)

    def _in_EkSentCt1Received(self, codewords, trace):
        value = self._collect(codewords) if codewords.type == CT2 else None
        if value is None:
            return None
        ct2, mac = cut(value, 128, 32)
        key = self._epoch_key(kem_decaps_halves(self.seed, self.ct1, ct2), trace)
        if not hmac.compare_digest(mac, self._mac_ciphertext(ct2)):
            self._end()
            return None
        self._next_epoch("NoHeaderReceived")  # 5
        return key

    def _in_NoHeaderReceived(self, codewords, trace):
        value = self._collect(codewords) if codewords.type == HEADER_TYPE else None
        if value is None:
            return
        header, mac = cut(value, 64, 32)
        if hmac.compare_digest(mac, self._mac_header(header)):
            self.state, self.header = "HeaderReceived", header  # 6
        else:
            self._end()

    def _in_Ct1Sampled(self, codewords, trace):
        if codewords.type not in (VECTOR, VECTOR_ACK):
            return
        acknowledged = codewords.type == VECTOR_ACK
        vector = self._collect(codewords)
        if vector is None:
            if acknowledged:
                self.state, self.stream = "Ct1Acknowledged", None  # 8
        elif acknowledged:
            self._second_half(vector, "Ct2Sampled", trace)  # 9
        else:
            self._second_half(vector, "EkReceivedCt1Sampled", trace)  # 10

    def _in_EkReceivedCt1Sampled(self, codewords, trace):
        if codewords.type == VECTOR_ACK:
            self._to_Ct2Sampled()  # 12

    def _in_Ct1Acknowledged(self, codewords, trace):
        vector = self._collect(codewords) if codewords.type in (VECTOR, VECTOR_ACK) else None
        if vector:
            self._second_half(vector, "Ct2Sampled", trace)  # 11

    def _second_half(self, vector, state, trace):
        if not vector_is_valid(self.header, vector):
            self._end()
            return
        ct2 = kem_second_half(self.header, self.coins, vector)
        mac = self._mac_ciphertext(ct2)
        note(trace, "KEM ct1", self.ct1)
        note(trace, "KEM ct2", ct2)
        note(trace, "KEM ciphertext MAC", mac)
        self.header = self.coins = self.ct1 = None
        self.ct2 = ct2 + mac
        if state == "Ct2Sampled":
            self._to_Ct2Sampled()
        else:
            self.state = state

    def _to_Ct2Sampled(self):
        self.state, self.stream, self.ct2 = "Ct2Sampled", Stream(self.ct2), None


# 8.3: PQ ratchet


@dataclass
class PqRatchet:
    initiator: bool
    root: bytes
    newest: int  # epoch
    sending_epoch: int
    sending: Chain
    waiting: Chain | None  # the sending chain of the newest epoch, until the Braid is agreeing on a later one
    receiving: dict  # epoch: chain
    braid: Braid
    skipped: dict = field(default_factory=dict)  # (epoch, number): key

    @classmethod
    def start(cls, initiator, pq_secret, trace):
        root, sending, receiving = cls._step(initiator, bytes(32), pq_secret, L_PQ_START, trace)
        return cls(initiator, root, 0, 0, sending, None, {0: receiving}, Braid.start(initiator, pq_secret, trace))

    @staticmethod
    def _step(initiator, salt, ikm, label, trace):
        """(root, sending chain, receiving chain)"""
        root, ck_ab, ck_ba = cut(HKDF(salt, ikm, label, b"", 96), 32, 32, 32)
        note(trace, "PQ root key", root)
        note(trace, "PQ chain key A->B", ck_ab)
        note(trace, "PQ chain key B->A", ck_ba)
        return (root, Chain(ck_ab), Chain(ck_ba)) if initiator else (root, Chain(ck_ba), Chain(ck_ab))

    def _begin(self, key, trace):
        """The next epoch begins, with this key."""
        self.newest += 1
        self.root, self.waiting, receiving = self._step(self.initiator, self.root, key, L_PQ_EPOCH, trace)
        self.receiving[self.newest] = receiving

    def send(self, room, drawn, trace):
        """The codewords of a message."""
        codewords, key = self.braid.send(room, drawn, trace)
        if key:
            self._begin(key, trace)
        return codewords

    def receive(self, braid_epoch, codewords, trace):
        """Those of a message that has opened."""
        key = self.braid.receive(braid_epoch, codewords, trace)
        if key:
            self._begin(key, trace)
        if self.waiting and self.braid.epoch > self.newest:
            self.sending_epoch, self.sending, self.waiting = self.newest, self.waiting, None

    def message_key(self, header, missing, new):
        """`missing`: how many messages before this one those were sent that have EC keys. `new`: to the EC ratchet."""
        epoch, n = header.pq_epoch, header.pq_n
        if epoch > self.newest:
            raise ProtocolError("TooFarAhead", "PQ epoch")
        chain = self.receiving.get(epoch)
        if chain is None or n < chain.n:
            mk = self.skipped.pop((epoch, n), None)
            if mk is None:
                raise ProtocolError("PeerRolledBack" if new else "TooOld", "PQ")
            return mk
        if n - chain.n > MAX_PQ_SKIP or n >= U32_MAX:
            raise ProtocolError("TooFarAhead", "PQ")
        kept = chain.skip_for(n, {n - before for before in missing})
        self.skipped.update(((epoch, i), mk) for i, mk in kept.items())
        for oldest in sorted(self.skipped)[: max(0, len(self.skipped) - MAX_SKIPPED)]:
            del self.skipped[oldest]
        return chain.step()

    def drop_epochs(self, missing):
        """`missing`: how many skipped keys the EC ratchet has."""
        kept = sorted(self.receiving)[-(MAX_PQ_EPOCHS if missing else 2) :]
        self.receiving = {epoch: self.receiving[epoch] for epoch in kept}
        for oldest in sorted(self.skipped)[: max(0, len(self.skipped) - missing)]:
            del self.skipped[oldest]


@dataclass
class Session:
    id: bytes
    ad: bytes
    peer: bytes  # identity key
    handshake: bytes
    initiator: bool
    answered: bool
    incarnation: int
    # EC ratchet
    rk: bytes
    own_private: bytes | None
    peer_key: bytes | None
    sending: Sending | None
    receiving: Receiving | None
    nhks: bytes
    nhkr: bytes
    pn: int
    pq: PqRatchet
    # skipped keys and closed chains
    closed: list = field(default_factory=list)  # oldest first
    ec_skipped: dict = field(default_factory=dict)  # (serial of chain, number): key
    chains_seen: int = 0

    @classmethod
    def of_initiator(cls, s, peer, spk_b, trace):
        """Its incarnation is drawn last, as a responder's is."""
        return cls(
            id=s.session_id, ad=s.ad, peer=peer, handshake=s.handshake, initiator=True, answered=False,
            incarnation=-1, rk=s.ec_root, own_private=None, peer_key=spk_b, sending=None,
            receiving=None, nhks=s.hk_ab, nhkr=s.hk_ba, pn=0, pq=PqRatchet.start(True, s.pq_secret, trace),
        )  # fmt: skip

    @classmethod
    def of_responder(cls, s, peer, spk_private, trace):
        """Its incarnation is drawn when the first message has opened."""
        return cls(
            id=s.session_id, ad=s.ad, peer=peer, handshake=s.handshake, initiator=False, answered=True,
            incarnation=-1, rk=s.ec_root, own_private=spk_private, peer_key=None, sending=None,
            receiving=None, nhks=s.hk_ba, nhkr=s.hk_ab, pn=0, pq=PqRatchet.start(False, s.pq_secret, trace),
        )  # fmt: skip

    @property
    def needs_rehandshake(self):  # 13
        return self.pq.braid.state == "Ended"

    def reopen(self, rng):
        """What sealing and opening does to a session: a new incarnation."""
        self.incarnation = number(rng(4))

    def clone(self):
        return copy.deepcopy(self)

    def _root_step(self, peer_key, trace):
        dh = X25519(self.own_private, peer_key)
        note(trace, "DH", dh)
        self.rk, ck, nhk = cut(HKDF(self.rk, dh, L_EC_ROOT, b"", 96), 32, 32, 32)
        note(trace, "EC root key", self.rk)
        note(trace, "EC chain key", ck)
        note(trace, "next header key", nhk)
        return Chain(ck), nhk

    # 9: sending

    def encrypt(self, content, padding, rng, trace):
        if len(content) > MAX_CONTENT:
            raise ProtocolError("ContentTooLong")
        if self.pq.sending.n >= U32_MAX or (self.sending and self.sending.chain.n >= U32_MAX):
            raise ProtocolError("CounterExhausted")

        drawn = None
        if self.pq.braid.samples:
            use = b"\x01" if self.pq.braid.state == "KeysUnsampled" else b"\x02"
            drawn = HKDF(rng(32), self.pq.root, L_HEDGED_KEM, u32(self.pq.newest) + use, 64)  # 15

        if self.sending is None:  # turn when sending
            self.own_private = HKDF(rng(32), self.rk, L_HEDGED_RATCHET_KEY, self.peer_key, 32)
            note(trace, "ratchet private key", self.own_private)
            chain, nhk = self._root_step(self.peer_key, trace)
            self.sending = Sending(self.nhks, chain)
            self.nhks = nhk

        header = self.next_header().encode()
        mk_ec, mk_pq = self.sending.chain.step(), self.pq.sending.step()
        codewords = self.pq.send(room(len(content), padding), drawn, trace)
        key = body_key(mk_ec, mk_pq, header, trace)
        note(trace, "header key", self.sending.header_key)
        note(trace, "header", header)

        sealed_body = AEAD(key, BODY_NONCE, self.ad + header, encode_body(content, padding, codewords))
        if self.initiator and not self.answered:
            prefix = u8(KIND_INITIAL) + self.handshake
        else:
            prefix = u8(KIND_RATCHET)
        sealed_header = XAEAD(self.sending.header_key, sealed_body[-24:], SUITE + prefix, header)
        return prefix + sealed_header + sealed_body

    def next_header(self):
        own_key = x25519_public(self.own_private)
        return Header(
            own_key, self.pn, self.sending.chain.n, self.pq.sending_epoch, self.pq.sending.n, self.incarnation
        )

    def lose(self, count, rng):
        """Encrypt so many messages of which nothing is left but the numbers that they used."""
        if count:
            self.encrypt(b"", "none", rng, [])  # it makes the turn, and the Braid samples
            for chain in (self.sending.chain, self.pq.sending):
                chain.skip_to(chain.n + count - 1, keep=0)
            self.pq.braid.skip(count - 1)

    # 10: receiving

    def decrypt(self, message, trace):
        work = self.clone()
        content = work._decrypt(message, trace)
        self.__dict__.update(work.__dict__)
        return content

    def _decrypt(self, message, trace):
        # 1
        m = Message.decode(message)
        if m.handshake and (self.initiator or m.handshake.raw != self.handshake):
            raise ProtocolError("UnknownSession", "handshake part")
        # 2, 3
        chain, raw = self._open_header(m)
        header = Header.decode(raw)
        check_x25519_key(header.ratchet_key)
        if chain and header.ratchet_key != chain.ratchet_key:
            raise ProtocolError("PeerRolledBack", "another ratchet key")
        first = not self.initiator and self.receiving is None  # a responder's first message
        # 4
        new = True
        if chain is None:
            mk_ec = self._turn_and_step(header, trace)
            chain = self.receiving
        elif chain.chain and header.n >= chain.chain.n:
            mk_ec = self._step_receiving(header.n)
        else:
            mk_ec, new = self._skipped_or_judge(chain, header), False
        # 5
        if first and (header.pq_epoch != 0 or header.pq_n != header.n):
            raise ProtocolError("Malformed", "an unanswered initiator is in epoch 0, and its counters are equal")
        mk_pq = self.pq.message_key(header, self._missing_before(chain, header.n), new)
        key = body_key(mk_ec, mk_pq, raw, trace)
        content, codewords = decode_body(open_AEAD(key, BODY_NONCE, self.ad + raw, m.sealed_body))
        # 6
        chain.see(header.incarnation, header.n)
        self._expire()
        self._drop_chains()
        self.pq.receive(header.pq_epoch + 1, codewords, trace)
        self.pq.drop_epochs(missing=len(self.ec_skipped))
        self.answered = True
        return content

    def _missing_before(self, chain, n):
        """How many messages before message n of the chain those were sent that have a key."""
        starts = {c.serial: c.start for c in self.closed + [self.receiving]}
        befores = {chain.start + n - (starts[serial] + i) for serial, i in self.ec_skipped}
        return {before for before in befores if before > 0}

    def _open_header(self, m):
        """(chain, header); chain is None for a header under NHKr."""
        candidates = []
        if self.receiving:
            candidates.append((self.receiving.header_key, self.receiving))
        if self.own_private:
            candidates.append((self.nhkr, None))
        candidates += [(c.header_key, c) for c in reversed(self.closed)]
        for key, chain in candidates:
            try:
                return chain, open_XAEAD(key, m.nonce, m.header_ad, m.sealed_header)
            except ProtocolError:
                pass
        raise ProtocolError("UnknownSession", "no header key fits")

    def _step_receiving(self, n):
        """Step the receiving chain to n, which is not behind it. Gives the message key of n."""
        current = self.receiving
        if n - current.chain.n > MAX_EC_SKIP or n >= U32_MAX:
            raise ProtocolError("TooFarAhead", "EC")
        self._skip_receiving(n)
        return current.chain.step()

    def _skip_receiving(self, n):
        current = self.receiving
        if n - current.chain.n > MAX_SKIPPED:
            current.forgotten = n - MAX_SKIPPED
        for number_of_key, mk in current.chain.skip_to(n).items():
            self.ec_skipped[current.serial, number_of_key] = mk
        for serial, number_of_key in sorted(self.ec_skipped)[: max(0, len(self.ec_skipped) - MAX_SKIPPED)]:
            del self.ec_skipped[serial, number_of_key]
            for chain in self.closed + [current]:
                if chain.serial == serial:
                    chain.forgotten = max(chain.forgotten, number_of_key + 1)

    def _turn_and_step(self, header, trace):
        """Turn when receiving, and the message key of the new chain's number n."""
        if self.chains_seen > U32_MAX:
            raise ProtocolError("TooFarAhead", "chains")
        chain, nhk = self._root_step(header.ratchet_key, trace)
        if header.n > MAX_EC_SKIP:
            raise ProtocolError("TooFarAhead", "EC, new chain")
        old = self.receiving
        if old:
            if header.pn - old.chain.n > MAX_EC_SKIP:
                old.forgotten = header.pn  # the rest is abandoned
            elif header.pn > old.chain.n:
                self._skip_receiving(header.pn)
            old.chain, old.length = None, max(header.pn, old.chain.n)
            self.closed.append(old)
        start = old.start + old.length if old else 0
        self.receiving = Receiving(self.chains_seen, start, self.nhkr, header.ratchet_key, chain)
        self.chains_seen += 1
        self.nhkr = nhk
        self.peer_key = header.ratchet_key
        self.pn = self.sending.chain.n if self.sending else 0
        self.sending = None
        self.own_private = None
        return self._step_receiving(header.n)

    def _skipped_or_judge(self, chain, header):
        if chain.length is not None and header.n >= chain.length:
            raise ProtocolError("PeerRolledBack", "beyond the end of a closed chain")
        mk = self.ec_skipped.pop((chain.serial, header.n), None)
        if mk is not None:
            return mk
        for incarnation, (lowest, highest) in chain.incarnations.items():
            if incarnation != header.incarnation and lowest <= header.n <= highest:
                raise ProtocolError("PeerRolledBack", "a number used twice")
        if header.n < chain.forgotten:
            raise ProtocolError("TooOld", "EC")
        raise ProtocolError("Duplicate")

    def _expire(self):
        """What is too late is given up."""
        current = self.receiving
        late = {
            c.serial
            for c in self.closed
            if current.chain.n > MAX_LATE or current.serial - c.serial > MAX_LATE_TURNS
        }
        for serial, n in list(self.ec_skipped):
            if serial in late:
                del self.ec_skipped[serial, n]
            elif serial == current.serial and n < current.chain.n - MAX_LATE:
                del self.ec_skipped[serial, n]
                current.forgotten = max(current.forgotten, n + 1)

    def _drop_chains(self):
        """Closed chains are kept while they have skipped keys, and only the newest of them."""
        alive = {serial for serial, _ in self.ec_skipped}
        self.closed = [c for c in self.closed if c.serial in alive][-MAX_CLOSED:]
        kept = {c.serial for c in self.closed} | {self.receiving.serial}
        self.ec_skipped = {k: mk for k, mk in self.ec_skipped.items() if k[0] in kept}


BODY_NONCE = bytes(12)


def body_key(mk_ec, mk_pq, header, trace):
    note(trace, "EC message key", mk_ec)
    note(trace, "PQ message key", mk_pq)
    key = HMAC(mk_pq, mk_ec + L_MESSAGE + header)
    note(trace, "body key", key)
    return key


# 11: sessions


@dataclass
class Sessions:
    """The sessions with one peer. `list` has the newest first; any order will do."""

    list: list = field(default_factory=list)
    sent_on: Session | None = None
    given_up: set = field(default_factory=set)  # session ids

    def initiated(self, session):
        self.list.insert(0, session)
        self.sent_on = session  # rule 1

    def give_up(self, session):
        """The session stays for receiving, and is not chosen again. The caller initiates another."""
        self.given_up.add(session.id)

    def receive(self, message, accept_new):
        """The content. `accept_new(message)` gives (session, content, payload)."""
        kind = check_kind(message, KIND_INITIAL, KIND_RATCHET)
        for session in self.list:
            try:
                content = session.decrypt(message, [])
            except ProtocolError as e:
                if e.name in ("TooFarAhead", "PeerRolledBack"):
                    self.give_up(session)
                if e.name != "UnknownSession":
                    raise
            else:
                break
        else:
            session, content, _ = accept_new(message)
            self.list.insert(0, session)
        self._choose(session, kind)
        return content

    def _choose(self, session, kind):
        """Rule 2: a message of this kind was decrypted in this session, or this session accepted with it."""
        own = self.sent_on
        if session is own or session.id in self.given_up:
            return
        if own and own.initiator and not own.answered and (kind == KIND_RATCHET or own.id < session.id):
            return
        self.sent_on = session


# ---------------------------------------------------------------------------------------------------------------
# 14: stored state

CONTEXT_LENGTH = {0xB1: 0, 0xC1: 0, 0xD1: 44, 0xE1: 0, 0xF1: 0}


def storage_keys(storage_key):
    """(K_enc, K_nonce)"""
    return cut(HKDF(bytes(32), storage_key, L_STORAGE, b"", 64), 32, 32)


def seal_state(storage_key, kind, context, state):
    assert len(context) == CONTEXT_LENGTH[kind]
    k_enc, k_nonce = storage_keys(storage_key)
    ad = L_SEALED_STATE + u8(kind) + context
    nonce = HMAC(k_nonce, u64(len(context)) + ad + state)[:24]
    return u8(kind) + nonce + XAEAD(k_enc, nonce, ad, state)


def open_state(storage_key, kind, context, sealed):
    k_enc, _ = storage_keys(storage_key)
    try:
        check_kind(sealed, kind)
        if len(sealed) < 1 + 24 + TAG:
            raise ProtocolError("Malformed", "sealed state")
        return open_XAEAD(k_enc, sealed[1:25], L_SEALED_STATE + u8(kind) + context, sealed[25:])
    except ProtocolError as e:
        if e.name == "UnsupportedVersion":
            raise
        raise ProtocolError("SealBroken", str(e)) from None


# ---------------------------------------------------------------------------------------------------------------
# 17: users and devices

KIND_LIST = 0x61
USER_HRP = "sruser"
MAX_DEVICES = 32
LIST_LIFETIME = 90 * DAY
PAYLOAD_VERSION = 1
PAYLOAD_LENGTH = 256


class Fields:
    """Cuts bytes from the front."""

    def __init__(self, b):
        self.left = b

    def take(self, n):
        if len(self.left) < n:
            raise ProtocolError("Malformed", "too short")
        taken, self.left = self.left[:n], self.left[n:]
        return taken

    def number(self, n):
        return number(self.take(n))


def check_signature(key, signature, m):
    if not ed25519_verify(key, signature, m):
        raise ProtocolError("InvalidSignature")


# 17.1


def user_text(user):
    return bech32_text(key_words(user), hrp=USER_HRP)


def user_from_text(text):
    user = bytes_from_text(text, USER_HRP, 32)
    check_ed25519_key(user)
    return user


# 17.2


def device_id(ik):
    return H(L_DEVICE_ID, ik)[:16]


def address_text(user, device):
    return f"{user_text(user)}/{device.hex()}"


def claim_message(user, ik):
    return L_DEVICE_CLAIM + SUITE + user + ik


# 17.3


@dataclass
class DeviceList:
    user: bytes
    version: int
    previous: bytes
    issued: int
    expires: int
    entries: list  # of (IK, claim)
    signature: bytes = b""

    def signed_part(self):
        head = u8(KIND_LIST) + self.user + u32(self.version) + self.previous + u64(self.issued) + u64(self.expires)
        return head + u8(len(self.entries)) + b"".join(ik + claim for ik, claim in self.entries)

    def encode(self):
        return self.signed_part() + self.signature

    @property
    def hash(self):
        return H(L_DEVICE_LIST_HASH, self.signed_part())

    @classmethod
    def sign(cls, root_seed, previous, entries, issued):
        version, before = (previous.version + 1, previous.hash) if previous else (1, bytes(32))
        made = cls(ed25519_public(root_seed), version, before, issued, issued + LIST_LIFETIME, sorted(entries))
        made.signature = ed25519_sign(root_seed, L_DEVICE_LIST + SUITE + made.signed_part())
        return made

    @classmethod
    def decode(cls, b):
        """The encoding from front to back, then the root signature, then the claims."""
        check_kind(b, KIND_LIST)
        f = Fields(b[1:])
        user = f.take(32)
        check_ed25519_key(user)
        version, previous = f.number(4), f.take(32)
        if version == 0 or (version == 1) != (previous == bytes(32)):
            raise ProtocolError("Malformed", "version and previous")
        issued, expires = f.number(8), f.number(8)
        if not 0 < expires - issued <= LIST_LIFETIME:
            raise ProtocolError("Malformed", "lifetime")
        count = f.number(1)
        if not 1 <= count <= MAX_DEVICES:
            raise ProtocolError("Malformed", "count")
        entries = []
        for _ in range(count):
            ik = f.take(64)
            check_identity_key(ik)
            if entries and entries[-1][0] >= ik:
                raise ProtocolError("Malformed", "order")
            entries.append((ik, f.take(64)))
        read = cls(user, version, previous, issued, expires, entries, f.take(64))
        if f.left:
            raise ProtocolError("Malformed", "trailing bytes")
        check_signature(user, read.signature, L_DEVICE_LIST + SUITE + read.signed_part())
        for ik, claim in entries:
            check_signature(ik[:32], claim, claim_message(user, ik))
        return read


# 17.4


def succession(new, known_version, known_hash):
    if new.version < known_version:
        return "Older"
    if new.version == known_version:
        return "Same" if new.hash == known_hash else "Forked"
    if new.version == known_version + 1 and new.previous != known_hash:
        return "Forked"
    return "Newer"


# 17.5


@dataclass
class Payload:
    user: bytes
    list_version: int
    list_hash: bytes
    expires: int
    claim: bytes
    root_signature: bytes
    recipient: bytes

    def certificate_message(self, ik):
        named = u32(self.list_version) + self.list_hash + u64(self.expires)
        return L_CERTIFICATE + SUITE + self.user + ik + named

    @classmethod
    def make(cls, root_seed, ik, claim, device_list, recipient):
        user = ed25519_public(root_seed)
        made = cls(user, device_list.version, device_list.hash, device_list.expires, claim, b"", recipient)
        made.root_signature = ed25519_sign(root_seed, made.certificate_message(ik))
        return made

    def encode(self):
        b = u8(PAYLOAD_VERSION) + self.user + u32(self.list_version) + self.list_hash + u64(self.expires)
        b += self.claim + self.root_signature + self.recipient
        return b + bytes(PAYLOAD_LENGTH - len(b))

    @classmethod
    def decode(cls, b):
        if not b:
            raise ProtocolError("Malformed", "empty")
        if b[0] != PAYLOAD_VERSION:
            raise ProtocolError("UnsupportedVersion")
        if len(b) != PAYLOAD_LENGTH:
            raise ProtocolError("Malformed", "length")
        f = Fields(b[1:])
        user = f.take(32)
        check_ed25519_key(user)
        version, list_hash = f.number(4), f.take(32)
        if version == 0:
            raise ProtocolError("Malformed", "list version")
        read = cls(user, version, list_hash, f.number(8), f.take(64), f.take(64), f.take(32))
        check_ed25519_key(read.recipient)
        if any(f.left):
            raise ProtocolError("Malformed", "zeros")
        return read

    def verify(self, ik):
        check_signature(self.user, self.root_signature, self.certificate_message(ik))
        check_signature(ik[:32], self.claim, claim_message(self.user, ik))


# ---------------------------------------------------------------------------------------------------------------
# 18: messages between devices

CONTENT_VERSION = 1
ACK, ASKS, GONE, LISTS, CERTIFICATE, BODY, RESENT = (1 << i for i in range(7))
MAX_PLACES = 32
MAX_LISTS = 2


def one_error(name, keep=()):
    """Every refusal in it is `name`, but for those to keep."""

    def decorate(f):
        @functools.wraps(f)
        def wrapped(*args):
            try:
                return f(*args)
            except ProtocolError as e:
                if e.name in keep:
                    raise
                raise ProtocolError(name, str(e)) from None

        return wrapped

    return decorate


@dataclass
class Place:
    stream: bytes
    number: int

    def encode(self):
        return self.stream + u32(self.number)

    @classmethod
    def take(cls, f):
        return cls(f.take(8), f.number(4))


@dataclass
class Body:
    place: Place
    id: bytes
    resent: bool
    kind: int
    bytes: bytes


@dataclass
class Content:
    own_list: tuple = (0, bytes(16))  # version, first half of the hash
    peer_list: tuple = (0, bytes(16))
    ack: Place = None
    asks: list = field(default_factory=list)
    gone: list = field(default_factory=list)
    lists: list = field(default_factory=list)
    certificate: bytes = None
    body: Body = None

    def encode(self):
        flags, sections = 0, b""
        if self.ack is not None:
            flags, sections = flags | ACK, sections + self.ack.encode()
        for bit, places in ((ASKS, self.asks), (GONE, self.gone)):
            if places:
                flags |= bit
                sections += u8(len(places)) + b"".join(p.encode() for p in places)
        if self.lists:
            flags |= LISTS
            sections += u8(len(self.lists)) + b"".join(u16(len(b)) + b for b in self.lists)
        if self.certificate is not None:
            flags, sections = flags | CERTIFICATE, sections + self.certificate
        if self.body is not None:
            flags |= BODY | (RESENT if self.body.resent else 0)
            sections += self.body.place.encode() + self.body.id + u8(self.body.kind) + self.body.bytes
        named = b"".join(u32(version) + half for version, half in (self.own_list, self.peer_list))
        return u8(CONTENT_VERSION) + u8(flags) + named + sections

    @classmethod
    def decode(cls, b):
        f = Fields(b)
        if f.number(1) != CONTENT_VERSION:
            raise ProtocolError("UnsupportedVersion")
        flags = f.number(1)
        if flags & 0x80 or (flags & RESENT and not flags & BODY):
            raise ProtocolError("Malformed", "flags")
        read = cls(own_list=cls.take_named(f), peer_list=cls.take_named(f))
        if flags & ACK:
            read.ack = Place.take(f)
        if flags & ASKS:
            read.asks = [Place.take(f) for _ in range(cls.take_count(f, MAX_PLACES))]
        if flags & GONE:
            read.gone = [Place.take(f) for _ in range(cls.take_count(f, MAX_PLACES))]
        if flags & LISTS:
            read.lists = [f.take(f.number(2)) for _ in range(cls.take_count(f, MAX_LISTS))]
        if flags & CERTIFICATE:
            read.certificate = f.take(PAYLOAD_LENGTH)
        if flags & BODY:
            read.body = Body(Place.take(f), f.take(16), bool(flags & RESENT), f.number(1), f.take(len(f.left)))
        if f.left:
            raise ProtocolError("Malformed", "trailing bytes")
        return read

    @staticmethod
    def take_named(f):
        version, half = f.number(4), f.take(16)
        if version == 0 and any(half):
            raise ProtocolError("Malformed", "no list, but a hash")
        return version, half

    @staticmethod
    def take_count(f, most):
        count = f.number(1)
        if not 1 <= count <= most:
            raise ProtocolError("Malformed", "count")
        return count


# 18.4

MESSAGE_BODY, SENT_BODY, TRUST_BODY = 1, 2, 3
MAX_ATTACHMENTS = 32


def encode_text(attachments, content):
    encoded = [d.encode() for d in attachments]
    return u8(len(encoded)) + b"".join(u32(len(d)) + d for d in encoded) + content


def decode_text(f):
    count = f.number(1)
    if count > MAX_ATTACHMENTS:
        raise ProtocolError("Malformed", "attachments")
    return [Descriptor.decode(f.take(f.number(4))) for _ in range(count)], f.left


def decode_body_of(kind, b):
    """(text), (U, text), (U, trust, since), or None for an unknown kind. Errors: it is not understood, either.

    A text is (attachments, content)."""
    f = Fields(b)
    if kind == MESSAGE_BODY:
        return decode_text(f)
    if kind not in (SENT_BODY, TRUST_BODY):
        return None
    user = f.take(32)
    check_ed25519_key(user)
    if kind == SENT_BODY:
        return user, decode_text(f)
    trust, since = f.number(1), f.number(8)
    if f.left or trust > 2:
        raise ProtocolError("Malformed", "trust")
    return user, trust, since


# ---------------------------------------------------------------------------------------------------------------
# 19: linking

LINK_VERSION = 1
LINK_HRP = "srlink"


def seal_behind(key, nonce, head, plain):
    return head + nonce + XAEAD(key, nonce, head, plain)


def open_behind(key, head, f):
    nonce = f.take(24)
    if len(f.left) < TAG:
        raise ProtocolError("Malformed", "too short")
    return open_XAEAD(key, nonce, head, f.left)


def check_link_version(f):
    if f.number(1) != LINK_VERSION:
        raise ProtocolError("UnsupportedVersion")


def link_code(ik, secret):
    return bech32_text(key_words(u8(LINK_VERSION) + ik + secret), hrp=LINK_HRP)


@one_error("BadLink", keep=["UnsupportedVersion"])
def read_link_code(text):
    f = Fields(bytes_from_text(text, LINK_HRP, 97))
    check_link_version(f)
    ik = f.take(64)
    check_identity_key(ik)
    return ik, f.take(32)


def link_keys(secret, shared, ik, e):
    """Of offer, reply and grant."""
    return cut(HKDF(secret, shared, L_LINK, ik + e, 96), 32, 32, 32)


def make_offer(e_private, ik, secret, user, nonce):
    e = x25519_public(e_private)
    keys = link_keys(secret, X25519(e_private, ik[32:]), ik, e)
    return seal_behind(keys[0], nonce, u8(LINK_VERSION) + e, user), keys


@one_error("BadLink", keep=["UnsupportedVersion"])
def open_offer(identity, secret, offer):
    """U and the keys."""
    f = Fields(offer)
    check_link_version(f)
    e = f.take(32)
    check_x25519_key(e)
    keys = link_keys(secret, X25519(identity.x_private, e), identity.key, e)
    user = open_behind(keys[0], offer[:33], f)
    if len(user) != 32:
        raise ProtocolError("Malformed", "user")
    check_ed25519_key(user)
    return user, keys


def make_reply(keys, ik, claim, nonce):
    return seal_behind(keys[1], nonce, u8(LINK_VERSION) + device_id(ik), claim)


@one_error("BadLink", keep=["UnsupportedVersion"])
def open_reply(keys, ik, user, reply):
    """The claim; `ik` is that of the code, which the offer is found by."""
    f = Fields(reply)
    check_link_version(f)
    if f.take(16) != device_id(ik):
        raise ProtocolError("Malformed", "no such offer")
    claim = open_behind(keys[1], reply[:17], f)
    if len(claim) != 64:
        raise ProtocolError("Malformed", "claim")
    check_signature(ik[:32], claim, claim_message(user, ik))
    return claim


def make_grant(keys, payload, device_list, contacts, nonce):
    listed = device_list.encode()
    plain = payload.encode() + u16(len(listed)) + listed + contacts
    return seal_behind(keys[2], nonce, u8(LINK_VERSION), plain)


@one_error("BadLink", keep=["UnsupportedVersion"])
def open_grant(keys, ik, user, grant):
    """Payload, device list, contacts."""
    f = Fields(grant)
    check_link_version(f)
    return read_grant(keys, ik, user, f)


@one_error("BadLink")
def read_grant(keys, ik, user, f):
    f = Fields(open_behind(keys[2], u8(LINK_VERSION), f))
    payload = Payload.decode(f.take(PAYLOAD_LENGTH))
    listed = DeviceList.decode(f.take(f.number(2)))
    contacts = Contact.take_all(f)
    if f.left:
        raise ProtocolError("Malformed", "trailing bytes")
    payload.verify(ik)
    named = payload.list_version, payload.list_hash
    if not payload.user == payload.recipient == listed.user == user or named != (listed.version, listed.hash):
        raise ProtocolError("Malformed", "does not fit")
    if ik not in [entry for entry, _ in listed.entries]:
        raise ProtocolError("Malformed", "not in the list")
    return payload, listed, contacts


# 19.1


@dataclass
class Contact:
    user: bytes
    trust: int = 0
    version: int = 0
    hash: bytes = bytes(32)
    list: bytes = b""

    def encode(self):
        return self.user + u8(self.trust) + u32(self.version) + self.hash + u16(len(self.list)) + self.list

    @staticmethod
    def encode_all(contacts):
        return u32(len(contacts)) + b"".join(c.encode() for c in sorted(contacts, key=lambda c: c.user))

    @classmethod
    def take(cls, f):
        user = f.take(32)
        check_ed25519_key(user)
        read = cls(user, f.number(1), f.number(4), f.take(32), f.take(f.number(2)))
        if read.trust > 2 or (read.version == 0 and any(read.hash)):
            raise ProtocolError("Malformed", "contact")
        if read.list:
            listed = DeviceList.decode(read.list)
            if listed.user != user or listed.version > read.version:
                raise ProtocolError("Malformed", "list of a contact")
            if listed.version == read.version and listed.hash != read.hash:
                raise ProtocolError("Malformed", "list of a contact")
        return read

    @classmethod
    def take_all(cls, f):
        read = []
        for _ in range(f.number(4)):
            read.append(cls.take(f))
            if len(read) > 1 and read[-2].user >= read[-1].user:
                raise ProtocolError("Malformed", "order")
        return read

    @classmethod
    def decode_all(cls, b):
        f = Fields(b)
        read = cls.take_all(f)
        if f.left:
            raise ProtocolError("Malformed", "trailing bytes")
        return read


# ---------------------------------------------------------------------------------------------------------------
# 20: backup

KIND_BACKUP = 0x91
BY_PASSPHRASE, BY_KEY = 1, 2
RECOVERY_HRP = "srkey"
BOUNDS = (19_456, 1_048_576), (1, 16), (1, 8)


def recovery_text(key):
    return bech32_text(key_words(key), hrp=RECOVERY_HRP)


def recovery_from_text(text):
    return bytes_from_text(text, RECOVERY_HRP, 32)


def check_parameters(parameters):
    """Salt, m, t, p."""
    f = Fields(parameters)
    salt, numbers = f.take(16), [f.number(4) for _ in BOUNDS]
    if not all(low <= n <= high for n, (low, high) in zip(numbers, BOUNDS)):
        raise ProtocolError("Malformed", "parameters")
    return (salt, *numbers)


def passphrase_key(passphrase, parameters, label):
    """(key, commitment)"""
    salt, m, t, p = check_parameters(parameters)
    stretched = hash_secret_raw(passphrase.encode(), salt, t, m, p, 64, Argon2Type.ID, 0x13)
    return cut(HKDF(bytes(32), stretched, label, parameters, 64), 32, 32)


def recovery_lock(key):
    return cut(HKDF(bytes(32), key, L_BACKUP, b"", 64), 32, 32)


@dataclass
class Backup:
    root_seed: bytes
    device: bytes
    list: bytes
    padding: bool
    resending: bool
    contacts: bytes

    def seal(self, passphrase, parameters, recovery_key, nonce):
        if passphrase is None:
            key, commitment = recovery_lock(recovery_key)
            lock = u8(BY_KEY) + commitment
        else:
            key, commitment = passphrase_key(passphrase, parameters, L_BACKUP)
            lock = u8(BY_PASSPHRASE) + parameters + commitment
        plain = self.root_seed + self.device + u16(len(self.list)) + self.list
        plain += u8(self.padding) + u8(self.resending) + self.contacts
        return seal_behind(key, nonce, u8(KIND_BACKUP) + lock, plain), key, commitment

    @classmethod
    @one_error("BadBackup", keep=["UnsupportedVersion"])
    def open(cls, b, passphrase, recovery_key):
        check_kind(b, KIND_BACKUP)
        f = Fields(b[1:])
        lock = f.number(1)
        if lock == BY_PASSPHRASE and passphrase is not None:
            key, commitment = passphrase_key(passphrase, f.take(28), L_BACKUP)
        elif lock == BY_KEY and passphrase is None:
            key, commitment = recovery_lock(recovery_key)
        else:
            raise ProtocolError("Malformed", "lock")
        if not hmac.compare_digest(f.take(32), commitment):
            raise ProtocolError("Unauthentic", "commitment")
        f = Fields(open_behind(key, b[: len(b) - len(f.left)], f))
        seed, device, listed = f.take(32), f.take(16), f.take(f.number(2))
        flags = f.number(1), f.number(1)
        contacts = f.left
        Contact.decode_all(contacts)
        if DeviceList.decode(listed).user != ed25519_public(seed) or max(flags) > 1:
            raise ProtocolError("Malformed", "contents")
        return cls(seed, device, listed, *map(bool, flags), contacts)


# ---------------------------------------------------------------------------------------------------------------
# 23: attachments

KIND_ATTACHMENT = 0x71
ATTACHMENT_CHUNK = 65_536
MAX_ATTACHMENT = 2**47
ANY_TYPE = "application/octet-stream"
BAD_IN_NAMES = {*"/\\:", *map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F])}
BAD_IN_NAMES |= {*map(chr, [*range(0x2028, 0x202F), *range(0x2066, 0x206A)])}


# 23.2


def padded_size(size):
    if size <= 4096:
        return 4096
    e = size.bit_length() - 1
    s = e.bit_length()  # floor(log2(e)) + 1
    step = 2 ** (e - s)
    return -(-size // step) * step


# 23.1


class AttachmentKeys:
    def __init__(self, k, size, trace):
        derived = HKDF(bytes(32), k, L_ATTACHMENT, u64(size) + u32(ATTACHMENT_CHUNK), 71)
        trace.append(["attachment keys", derived.hex()])
        self.key, self.prefix, self.commitment = cut(derived, 32, 7, 32)
        self.size, self.padded = size, padded_size(size)
        self.chunks = -(-(32 + self.padded) // (ATTACHMENT_CHUNK - TAG))
        self.file_len = 32 + self.padded + TAG * self.chunks

    def nonce(self, i):
        return self.prefix + u32(i) + u8(i == self.chunks - 1)

    def range(self, i):
        """Of the file."""
        return max(32, ATTACHMENT_CHUNK * i), min(ATTACHMENT_CHUNK * (i + 1), self.file_len)

    def part(self, i):
        """Of the padded content."""
        each = ATTACHMENT_CHUNK - TAG
        return max(0, each * i - 32), min(each * (i + 1) - 32, self.padded)


def seal_attachment(content, rng, trace, media_type=ANY_TYPE, file_name="", thumbnail=b""):
    """(file, descriptor)"""
    k = rng(32)
    keys = AttachmentKeys(k, len(content), trace)
    padded, file = content.ljust(keys.padded, b"\0"), keys.commitment
    for i in range(keys.chunks):
        begin, end = keys.part(i)
        assert len(file) == keys.range(i)[0]
        file += AEAD(keys.key, keys.nonce(i), b"", padded[begin:end])
    assert len(file) == keys.file_len
    return file, Descriptor(k, len(content), blake3(file).digest(), media_type, file_name, thumbnail)


# 23.4


def open_attachment(file, descriptor):
    keys = AttachmentKeys(descriptor.k, descriptor.size, [])
    if len(file) < 32:
        raise ProtocolError("Truncated", "commitment")
    if not hmac.compare_digest(file[:32], keys.commitment):
        raise ProtocolError("WrongKey")
    padded = b"".join(open_chunk(file[keys.range(i)[0] : keys.range(i)[1]], i, keys) for i in range(keys.chunks))
    if len(file) > keys.file_len:
        raise ProtocolError("Extended", keys.chunks)
    if blake3(file).digest() != descriptor.digest:
        raise ProtocolError("WrongDigest")
    return padded[: keys.size]


def open_chunk(chunk, i, keys):
    begin, end = keys.range(i)
    if len(chunk) < end - begin:
        raise ProtocolError("Truncated", i)
    try:
        part = open_AEAD(keys.key, keys.nonce(i), b"", chunk)
    except ProtocolError:
        raise ProtocolError("Altered", i) from None
    if any(part[max(0, keys.size - keys.part(i)[0]) :]):
        raise ProtocolError("Altered", i)
    return part


# 23.3


@dataclass
class Descriptor:
    k: bytes
    size: int
    digest: bytes
    media_type: str = ANY_TYPE
    file_name: str = ""
    thumbnail: bytes = b""

    def encode(self):
        media_type, name = self.media_type.encode(), self.file_name.encode()
        head = u8(KIND_ATTACHMENT) + self.k + u64(self.size) + self.digest + u32(ATTACHMENT_CHUNK)
        texts = u8(len(media_type)) + media_type + u8(len(name)) + name
        return head + texts + u32(len(self.thumbnail)) + self.thumbnail

    @classmethod
    def decode(cls, b):
        check_kind(b, KIND_ATTACHMENT)
        f = Fields(b[1:])
        k, size, digest = f.take(32), f.number(8), f.take(32)
        if size > MAX_ATTACHMENT:
            raise ProtocolError("Malformed", "size")
        if f.number(4) != ATTACHMENT_CHUNK:
            raise ProtocolError("UnsupportedVersion", "chunk size")
        try:
            media_type, name = (f.take(f.number(1)).decode() for _ in range(2))
        except UnicodeDecodeError:
            raise ProtocolError("Malformed", "text") from None
        if not 3 <= len(media_type) <= 127 or not all(" " <= c <= "~" for c in media_type):
            raise ProtocolError("Malformed", "media type")
        if not 0 < media_type.find("/") < len(media_type) - 1:
            raise ProtocolError("Malformed", "media type")
        if name in (".", "..") or BAD_IN_NAMES & set(name):
            raise ProtocolError("Malformed", "file name")
        thumbnail = f.take(f.number(4))
        if f.left or len(thumbnail) > 65_536:
            raise ProtocolError("Malformed", "thumbnail")
        return cls(k, size, digest, media_type, name, thumbnail)


# ---------------------------------------------------------------------------------------------------------------
# 24: verification

KIND_VERIFICATION = 0x81
CODE_STEP, COMMITMENT_STEP, ANSWER_STEP, REVEAL_STEP = range(4)
CODE_HRP = "srscan"

# fmt: off
EMOJI = """
alien avocado balloon battery bee bomb boot bread camel camera carrot castle cheese cherry coffee cookie crab
crown diamond dice door dragon dress drum duck ear egg fountain fox frog ghost grapes helicopter honey jeans
koala lantern lemon lollipop maple medal owl palm piano pineapple popcorn pumpkin radio rainbow rose sailboat
saxophone snail snowman star sunflower tent ticket tractor violin volcano watch wave whale
""".split()
# fmt: on


def two_users(u, v):
    if u == v:
        raise ProtocolError("SameUser")


# 24.1


def user_digits(user):
    """The six groups of one user."""
    h = hashlib.sha512(L_SAFETY_NUMBER + u8(1) + user).digest()
    for _ in range(5200):
        h = hashlib.sha512(h + user).digest()
    return ["%05d" % (number(h[i : i + 5]) % 100_000) for i in range(0, 30, 5)]


def safety_number(u, v):
    two_users(u, v)
    return " ".join(sum(sorted([user_digits(u), user_digits(v)]), []))


# 24.2


def scannable(user, peer):
    two_users(user, peer)
    return u8(KIND_VERIFICATION) + u8(CODE_STEP) + user + peer


def scannable_text(user, peer):
    return bech32_text(key_words(scannable(user, peer)), hrp=CODE_HRP).upper()


def code_bytes(code):
    """Of what was scanned, bytes or text."""
    if not code or code[0] >= 0x80:
        return code
    try:
        text = code.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("Malformed", "text") from None
    if len(text) > 1023:
        raise ProtocolError("Malformed", "long text")
    words = len(text) - len(CODE_HRP) - 1 - 6
    # Every number of words that are whole bytes and less than five bits of padding.
    length = 5 * words // 8
    return bytes_from_text(text, CODE_HRP, max(length, 0))


def scan(user, peer, code):
    """What a code says that `user` has scanned of what `peer` shows."""
    two_users(user, peer)
    b = code_bytes(code)
    try:
        check_kind(b, KIND_VERIFICATION)
    except ProtocolError as e:
        if e.name == "UnsupportedVersion":
            return "OtherVersion"
        raise
    if len(b) != 66 or b[1] != CODE_STEP:
        raise ProtocolError("Malformed", "code")
    shown_by, shown_for = cut(b[2:], 32, 32)
    for key in (shown_by, shown_for):
        if not _ed_large_order(key):
            raise ProtocolError("Malformed", "key in a code")
    if shown_by == peer:
        return "Match" if shown_for == user else "WrongPair"
    return "WrongPair" if shown_by == user else "Mismatch"


# 24.3


def sas_message(step, value):
    return u8(KIND_VERIFICATION) + u8(step) + value


def read_sas_message(step, b):
    check_kind(b, KIND_VERIFICATION)
    if len(b) != 34 or b[1] != step:
        raise ProtocolError("Malformed", "SAS message")
    return b[2:]


def sas_commit(initiator, responder, nonce):
    return H(L_SAS_COMMITMENT, initiator + responder + nonce)


def sas_code(initiator, responder, commitment, nonce_i, nonce_r):
    """(names of the emoji, numbers)"""
    code = HKDF(commitment, nonce_i + nonce_r, L_SAS_CODE, initiator + responder, 13)
    emoji, numbers = number(code[:6]) >> 6, number(code[6:]) >> 4
    emoji = [EMOJI[emoji >> 6 * i & 63] for i in reversed(range(7))]
    return emoji, [1000 + (numbers >> 13 * i & 0x1FFF) for i in reversed(range(4))]


class SasInitiator:
    def __init__(self, user, peer, rng):
        two_users(user, peer)
        self.user, self.peer, self.nonce = user, peer, rng(32)
        self.commitment = sas_commit(user, peer, self.nonce)
        self.message = sas_message(COMMITMENT_STEP, self.commitment)

    @property
    def yields(self):
        return self.peer < self.user

    def receive(self, answer):
        """(code, reveal)"""
        nonce_r = read_sas_message(ANSWER_STEP, answer)
        code = sas_code(self.user, self.peer, self.commitment, self.nonce, nonce_r)
        return code, sas_message(REVEAL_STEP, self.nonce)


class SasResponder:
    def __init__(self, user, peer, commitment, rng):
        two_users(user, peer)
        self.user, self.peer = user, peer
        self.commitment, self.nonce = read_sas_message(COMMITMENT_STEP, commitment), rng(32)
        self.message = sas_message(ANSWER_STEP, self.nonce)

    def receive(self, reveal):
        nonce_i = read_sas_message(REVEAL_STEP, reveal)
        if sas_commit(self.peer, self.user, nonce_i) != self.commitment:
            raise ProtocolError("Unauthentic", "reveal")
        return sas_code(self.peer, self.user, self.commitment, nonce_i, self.nonce)

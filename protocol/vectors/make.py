#!/usr/bin/env python3
"""Writes ids, documents, token, merkle, frame and sealed .json: Gabion's wire, computed a second time.

    python3 make.py             writes the files beside this script           (cryptography >= 43)
    python3 make.py --check     exits 1 if a file differs from what this script computes

Deterministic CBOR, COSE_Sign, HChaCha20 and HPKE are written out here; SHA-256, HMAC, Ed25519, X25519 and
ChaCha20-Poly1305 come from Python and OpenSSL. Everything is a function of fixed seeds.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# --- CBOR (RFC 8949 4.2.1), COSE_Sign (RFC 9052 4) -------------------------------------------------------------------


def head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    raise ValueError(argument)


def cbor(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        entries = sorted((cbor(key), cbor(item)) for key, item in value.items() if item is not None)
        return head(5, len(entries)) + b"".join(key + item for key, item in entries)
    raise TypeError(value)


def fields(*values):
    """A numbered record: absent fields are left out."""
    return dict(enumerate(values))


def envelope(kind, stamp, body, signers):
    payload = cbor({0: fields(kind, stamp["schema"], stamp["realm"], stamp["subject"], stamp["epoch"],
                              stamp["version"], stamp["previous"], stamp["issued_at"], stamp["valid_until"], stamp["needs"]),
                    1: cbor(body)})
    subject = b"*" if stamp["subject"] == "*" else stamp["subject"]
    aad = bytes([kind]) + stamp["realm"] + subject
    slots = []
    for signer in signers:
        protected = cbor({1: -19, 4: fingerprint(signer)})
        to_be_signed = cbor(["Signature", b"", protected, aad, payload])
        slots.append([protected, {}, signer.sign(to_be_signed)])
    return cbor([b"", {}, payload, slots]), hashlib.sha256(payload).digest()


# --- keys ------------------------------------------------------------------------------------------------------------


def signing(seed):
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def fingerprint(key):
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def sealing(scalar):
    return x25519.X25519PrivateKey.from_private_bytes(scalar)


def agree(ours, theirs):
    return ours.exchange(x25519.X25519PublicKey.from_public_bytes(theirs))


def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    out, block = b"", b""
    for counter in range(1, 256):
        if len(out) >= length:
            return out[:length]
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
    raise ValueError(length)


# --- XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) -----------------------------------------------------------------


def hchacha20(key, nonce):
    state = list(struct.unpack("<16L", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for left, right, other, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[left] = (state[left] + state[right]) & 0xFFFFFFFF
            mixed = state[other] ^ state[left]
            state[other] = (mixed << by | mixed >> 32 - by) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<8L", *state[:4], *state[12:])


def xchacha_seal(key, nonce, plain, aad):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plain, aad)


# --- HPKE, base mode (RFC 9180) --------------------------------------------------------------------------------------

KEM = b"KEM" + bytes.fromhex("0020")
SUITE = b"HPKE" + bytes.fromhex("0020 0001 0003")


def labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def derive_key_pair(ikm):
    return sealing(labeled_expand(KEM, labeled_extract(KEM, b"", b"dkp_prk", ikm), b"sk", b"", 32))


def hpke_cipher(shared, enc, receiver, info):
    secret = labeled_extract(KEM, b"", b"eae_prk", shared)
    shared_secret = labeled_expand(KEM, secret, b"shared_secret", enc + receiver, 32)
    context = b"\x00" + labeled_extract(SUITE, b"", b"psk_id_hash", b"") \
        + labeled_extract(SUITE, b"", b"info_hash", info)
    secret = labeled_extract(SUITE, shared_secret, b"secret", b"")
    return (ChaCha20Poly1305(labeled_expand(SUITE, secret, b"key", context, 32)),
            labeled_expand(SUITE, secret, b"base_nonce", context, 12))


def hpke_seal(receiver, info, aad, plain, ikm):
    ephemeral = derive_key_pair(ikm)
    enc = public(ephemeral)
    cipher, nonce = hpke_cipher(agree(ephemeral, receiver), enc, receiver, info)
    return enc + cipher.encrypt(nonce, plain, aad)


def check_against_published_vectors():
    assert hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex() \
        == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    # RFC 9180 A.2.1
    receiver = public(sealing(bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")))
    sealed = hpke_seal(receiver, bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"), b"Count-0",
                       b"Beauty is truth, truth beauty",
                       bytes.fromhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b"))
    assert sealed.hex() == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a" \
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"


# --- the files -------------------------------------------------------------------------------------------------------

CLUSTER, INSTALLATION, OPERATOR = b"\xc1" * 16, b"\xa1" * 16, b"\xd1" * 16
ALPHA, BETA, RELAY, CONTROLLER = bytes(range(16)), b"\xb2" * 16, b"\xb3" * 16, b"\xe1" * 16
LEASE, TOKEN, REQUEST = b"\x1e" * 16, b"\x70" * 16, b"\x9e" * 16
ROOT, SECOND_ROOT, OWNER, AUTHORITY, NEXT_AUTHORITY, NODE_KEY = map(signing, range(1, 7))
ALPHA_SEAL, BETA_SEAL = b"\x11" * 32, b"\x22" * 32
NOW = 1_800_000_000_000
DAY = 86_400_000
SYNTHETIC_CONFIG, ROUTES, LEASE_TABLE = 7, 8, 9


def digest(number):
    return hashlib.sha256(bytes([number])).digest()


def text(identifier):
    return base64.b32encode(identifier).decode().rstrip("=").lower()


def ids():
    low, high = sorted((ALPHA, BETA))
    return {
        "texts": [{"bytes": raw.hex(), "text": text(raw)} for raw in (ALPHA, BETA, bytes(16), b"\xff" * 16)],
        "route": hashlib.sha256(b"gabion route id v1" + CLUSTER + low + high).digest()[:16].hex(),
        "keys": [{"seed": seed, "public": public(signing(seed)).hex(),
                  "fingerprint": "SHA256:" + base64.urlsafe_b64encode(fingerprint(signing(seed))).decode().rstrip("=")}
                 for seed in (1, 2, 3)],
    }


def stamp(realm=CLUSTER, subject="*", epoch=1, version=1, previous=None, valid_until=None, needs=()):
    return {"schema": 1, "realm": realm, "subject": subject, "epoch": epoch, "version": version,
            "previous": previous, "issued_at": NOW, "valid_until": valid_until, "needs": list(needs)}


def join_claims():
    return fields(TOKEN, CLUSTER, fingerprint(AUTHORITY), ["controller.example:4433", "[2001:db8::1]:4433"], [1, 2],
                  ["rack", "r-07", "site", "fra"], 5, NOW + 3_600_000, 2, ["192.0.2.0/24", "2001:db8::/32"])


def documents():
    relay_path = [2, [RELAY, LEASE, 3, 1_250_000]]
    candidates = [[1, [bytes([192, 0, 2, 7]), 4433]], [2, [bytes.fromhex("20010db8") + bytes(11) + b"\x09", 65535]]]
    neighbour = fields(BETA, "beta", 2, [1], public(sealing(BETA_SEAL)), candidates)
    controllers = [fields(CONTROLLER, ["controller.example:4433"])]
    transport = fields(200, 1_000, 5_000, 10_000, 60_000, 60_000)
    config = ("alpha", [1, 3], ["site", "fra"], 1, [neighbour], controllers, transport)
    settings = hashlib.sha256(cbor(fields(controllers, transport))).digest()
    table = {
        "activation manifest": (1, stamp(INSTALLATION, epoch=0), fields(
            INSTALLATION, OPERATOR, "ada", public(OWNER), 1, b"\x0e" * 16, NOW, NOW + DAY),
            [ROOT, SECOND_ROOT]),
        "role grant everywhere": (2, stamp(INSTALLATION, epoch=0), fields(
            OPERATOR, "grace", public(NODE_KEY), 3), [OWNER]),
        "role grant in a cluster": (2, stamp(INSTALLATION, epoch=0, version=2, previous=digest(2)), fields(
            OPERATOR, "grace", public(NODE_KEY), 5, CLUSTER), [OWNER]),
        "join token": (3, stamp(valid_until=NOW + 3_600_000), join_claims(), [AUTHORITY]),
        "join contract": (4, stamp(subject=ALPHA), fields(
            REQUEST, ALPHA, "alpha", [1], [], 1, b"\x30\x82certificate", public(NODE_KEY), public(AUTHORITY),
            [fields(CONTROLLER, ["controller.example:4433"])]), [AUTHORITY]),
        "trust bundle": (5, stamp(version=300), fields([b"node ca one", b"node ca two"], [b"controller ca"]),
                         [AUTHORITY]),
        "revocation list": (6, stamp(version=70_000, previous=digest(6)), fields(
            [[digest(9), b"\x40" + bytes(15), NOW + 37 * DAY]], [[BETA, 1 << 40, 1 << 33]], [digest(8)],
            NOW - 7 * DAY), [AUTHORITY]),
        "synthetic config": (7, stamp(subject=ALPHA, version=1 << 33, previous=digest(7)), fields(*config, settings),
                             [AUTHORITY]),
        "synthetic config of the first version": (7, stamp(subject=ALPHA, version=1 << 33, previous=digest(7)),
                                                  fields(*config), [AUTHORITY]),
        "routes": (8, stamp(subject=ALPHA), fields([
            fields(b"\x01" * 16, BETA, 5, 2, relay_path, [[1, []]], [5, 4], 255, 1),
            fields(b"\x02" * 16, RELAY, 24, 1, [1, []], [], [1], 0, 2),
            fields(b"\x03" * 16, CONTROLLER, 6, 3, None, [], [16], 9, 4)]), [AUTHORITY]),
        "lease table": (9, stamp(subject=RELAY), fields([
            [LEASE, ALPHA, BETA, 3, 1_221, 1_440],
            [b"\xff" * 16, b"\xfe" * 16, b"\xff" * 16, 0xFFFFFFFF, 0xFFFF, 0xFFFF]]), [AUTHORITY]),
        "meeting routes": (8, stamp(subject=ALPHA), fields([
            fields(b"\x01" * 16, BETA, 2, 1, [1, []], [], [3, 22], 0, 1, fields(RELAY, LEASE, 3))]), [AUTHORITY]),
        "meeting table": (9, stamp(subject=RELAY, needs=[1]), fields([
            [LEASE, ALPHA, BETA, 3, 1_221, 1_440],
            [b"\xff" * 16, b"\xfe" * 16, b"\xff" * 16, 0xFFFFFFFF, 0xFFFF, 0xFFFF, 2]]), [AUTHORITY]),
        "beacon": (10, stamp(epoch=2, version=256, previous=digest(10), valid_until=NOW + 900_000), fields(
            4, 65_536, digest(1), 23, [300, digest(5)], [70_000, digest(6)], [24, digest(4)]), [NEXT_AUTHORITY]),
        "authority succession": (11, stamp(), fields(2, public(NEXT_AUTHORITY)), [AUTHORITY]),
    }
    sealed = {name: envelope(*row) for name, row in table.items()}
    return {name: {"envelope": whole.hex(), "hash": pinned.hex()} for name, (whole, pinned) in sealed.items()}


def token():
    claims, _ = envelope(3, stamp(valid_until=NOW + 3_600_000), join_claims(), [AUTHORITY])
    secret = b"\x5a" * 32
    body = len(claims).to_bytes(2, "big") + claims + secret
    checksum = hashlib.sha256(b"gabion join token checksum v1" + body).digest()[:4]
    return {"secret": secret.hex(), "text": "gbj1_" + text(body + checksum),
            "secret_hash": hashlib.sha256(b"gabion join token secret v1" + secret).hexdigest()}


def merkle_root(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    at = split(len(hashes))
    return hashlib.sha256(b"\x01" + merkle_root(hashes[:at]) + merkle_root(hashes[at:])).digest()


def merkle_path(index, hashes):
    if len(hashes) < 2:
        return []
    at = split(len(hashes))
    if index < at:
        return merkle_path(index, hashes[:at]) + [merkle_root(hashes[at:])]
    return merkle_path(index - at, hashes[at:]) + [merkle_root(hashes[:at])]


def split(count):
    return 1 << (count - 1).bit_length() - 1


def merkle():
    trees = []
    for count in (0, 1, 2, 3, 5, 8, 13):
        # One to three documents a node, by kind.
        leaves = [(bytes([place]) * 16, [(kind, 1_000 + place, digest(3 * place + number)) for number, kind
                                         in enumerate((SYNTHETIC_CONFIG, ROUTES, LEASE_TABLE)[:1 + place % 3])])
                  for place in range(count)]
        hashes = [hashlib.sha256(b"\x00" + node + b"".join(bytes([kind]) + version.to_bytes(8, "big") + pinned
                                                           for kind, version, pinned in entries)).digest()
                  for node, entries in leaves]
        paths = [merkle_path(index, hashes) for index in range(count)]
        trees.append({
            "leaves": [{"node": text(node), "entries": cbor([list(entry) for entry in entries]).hex()}
                       for node, entries in leaves],
            "root": merkle_root(hashes).hex(),
            "inclusions": [cbor([index, b"".join(path)]).hex() for index, path in enumerate(paths)],
        })
    return trees


def frame():
    shared = agree(sealing(ALPHA_SEAL), public(sealing(BETA_SEAL)))
    assert shared == agree(sealing(BETA_SEAL), public(sealing(ALPHA_SEAL)))
    key = expand(extract(CLUSTER, shared), b"gabion mesh body v1" + ALPHA + BETA, 32)
    boot = bytes(range(0xB0, 0xC0))
    direct, relayed = [1, []], [2, [LEASE, 7]]
    messages = {
        "probe": (4, relayed, [[5, 1], [1, [[1 << 63, relayed, 300]]]]),
        "probe reply": (4, direct, [[5, 0], [2, [[24, direct, ALPHA, 299]]]]),
        "choice": (2, relayed, [[(1 << 64) - 1, 2], [3, [[direct]]]]),
        "synthetic": (3, relayed, [[0, 0], [4, [[65_536, b"stones in a mesh"]]]]),
        "meet": (1, relayed, [[5, 1], [5, [[1 << 40, True, [[bytes([203, 0, 113, 7]), 7444],
                                                            [bytes.fromhex("20010db8") + bytes(11) + b"\x07", 7444]]]]]]),
    }
    frames = {}
    for number, (name, (wire_class, path, content)) in enumerate(messages.items()):
        lease, generation = (bytes(16), 0) if path == direct else (LEASE, 7)
        header = bytes([1, wire_class, 1]) + lease + struct.pack(">L", generation) + boot[:8] \
            + struct.pack(">Q", 1_000 + number)
        nonce = bytes([number]) * 24
        frames[name] = {"nonce": nonce.hex(),
                        "frame": (header + nonce + xchacha_seal(key, nonce, cbor(content), header)).hex()}
    link_head = bytes([1, 2, 2]) + bytes(20) + boot[:8] + struct.pack(">Q", 9)
    beacon_head = bytes([1, 1, 2]) + bytes(20) + boot[:8] + struct.pack(">Q", 10)
    return {
        "sealed": frames,
        "refused": (link_head + cbor([1, [relayed, 5, 6]])).hex(),
        "beacon": (beacon_head + cbor([2, [b"a signed beacon"]])).hex(),
        "look": (beacon_head + cbor([3, [relayed]])).hex(),
        "seen": (beacon_head + cbor([4, [relayed, [bytes([203, 0, 113, 7]), 7444]]])).hex(),
    }


def sealed():
    ikm, contract = b"\x77" * 32, b"a signed join contract"
    receiver = public(sealing(ALPHA_SEAL))
    return {"ikm": ikm.hex(), "plaintext": contract.hex(),
            "sealed": hpke_seal(receiver, b"gabion join contract v1", REQUEST, contract, ikm).hex()}


def main():
    check_against_published_vectors()
    here = pathlib.Path(__file__).parent
    stale = []
    for make in (ids, documents, token, merkle, frame, sealed):
        path = here / f"{make.__name__}.json"
        wanted = json.dumps(make(), indent=1) + "\n"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != wanted:
                stale.append(path.name)
        else:
            path.write_text(wanted)
    if stale:
        sys.exit(f"differ from what make.py computes: {', '.join(stale)}")


if __name__ == "__main__":
    main()

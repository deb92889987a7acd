#!/usr/bin/env python3
"""Writes certificates.txt: certificates and requests in Gabion's profile, made by pyca/cryptography.

    python3 certificates.py > certificates.txt          (cryptography >= 43)

Every line is a name and the DER in hex. Keys come from fixed seeds and Ed25519 is deterministic, so the output is
the same every time, and Gabion must produce the lines called ca_*, leaf_* and csr byte for byte.
"""

import base64
import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLUSTER = bytes([0x01]) * 16
NODE = bytes(range(16))
CONTROLLER = bytes([0x03]) * 16
# 2026-01-01T00:00:00Z
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
CA_LIFE = datetime.timedelta(days=3650)
LEAF_LIFE = datetime.timedelta(days=7)


def text(identifier):
    return base64.b32encode(identifier).decode().rstrip("=").lower()


def key(seed):
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def spki(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(public):
    return hashlib.sha256(spki(public)).digest()[:20]


def serial(first):
    return int.from_bytes(bytes([0x40, first]) + bytes(14), "big")


def usage(**set_bits):
    bits = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    return x509.KeyUsage(**(bits | set_bits))


def ca_name(role):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, text(CLUSTER)),
            x509.NameAttribute(NameOID.COMMON_NAME, f"gabion {role} ca"),
        ]
    )


def ca(role, private, number):
    return (
        x509.CertificateBuilder()
        .subject_name(ca_name(role))
        .issuer_name(ca_name(role))
        .public_key(private.public_key())
        .serial_number(serial(number))
        .not_valid_before(START)
        .not_valid_after(START + CA_LIFE)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(key_id(private.public_key())), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, None)
    )


def leaf(role, issuer, private, number, names):
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca_name(role))
        .public_key(private.public_key())
        .serial_number(serial(number))
        .not_valid_before(START)
        .not_valid_after(START + LEAF_LIFE)
        .add_extension(
            x509.AuthorityKeyIdentifier(key_id(issuer.public_key()), None, None), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(issuer, None)
    )


def csr(subject=(), names=()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(list(subject)))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder


def show(name, made):
    print(name, made.public_bytes(serialization.Encoding.DER).hex())


def main():
    node_ca, controller_ca, node, controller = key(0x11), key(0x12), key(0x21), key(0x22)
    cluster = text(CLUSTER)
    show("ca_node", ca("node", node_ca, 1))
    show("ca_controller", ca("controller", controller_ca, 2))
    node_names = [
        x509.DNSName(f"{text(NODE)}.{cluster}.gabion"),
        x509.UniformResourceIdentifier(f"spiffe://{cluster}/node/{text(NODE)}"),
    ]
    controller_names = [
        x509.DNSName(f"controller.{cluster}.gabion"),
        x509.UniformResourceIdentifier(f"spiffe://{cluster}/controller/{text(CONTROLLER)}"),
    ]
    p256 = ec.derive_private_key(7, ec.SECP256R1())
    show("leaf_node", leaf("node", node_ca, node, 3, node_names))
    show("leaf_controller", leaf("controller", controller_ca, controller, 4, controller_names))
    show("p256_leaf", leaf("node", node_ca, p256, 5, node_names))
    show("csr", csr().sign(node, None))
    greedy = csr(
        subject=[x509.NameAttribute(NameOID.COMMON_NAME, "root")],
        names=[x509.DNSName(f"controller.{cluster}.gabion")],
    )
    show("greedy_csr", greedy.sign(node, None))
    show("p256_csr", csr().sign(p256, hashes.SHA256(), ecdsa_deterministic=True))


main()

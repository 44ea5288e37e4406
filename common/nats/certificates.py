"""Certificates for the servers of a fleet: an authority of its own, and what it signs.

The authority's certificate is what every host trusts; its key signs one certificate for all servers of the fleet,
by which they know each other, too. Needs the extra `nats`.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import SettingsError

LIFE = timedelta(days=3650)
_SKEW = timedelta(days=1)
"""By how much another host's clock may be behind."""
_CURVE = ec.SECP256R1()


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, name: str) -> Self:
        """Make a new authority."""
        key = ec.generate_private_key(_CURVE)
        subject = _named(name)
        built = (
            _begun(subject, subject, key.public_key(), key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(built.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, pem: Certified) -> Self:
        """Read one as it was written; raises SettingsError for what is none."""
        try:
            key = load_pem_private_key(pem.key, password=None)
            certificate = x509.load_pem_x509_certificate(pem.certificate)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(f"no authority's certificate and key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise SettingsError("the authority's key is not that of its certificate")
        return cls(certificate, key)

    def pem(self) -> Certified:
        """Return it as it is written."""
        return Certified(self.certificate.public_bytes(Encoding.PEM), _pem(self.key))

    def certify(self, name: str, hosts: Iterable[str]) -> Certified:
        """Return a new certificate for servers that are reached at `hosts`: names and addresses."""
        key = ec.generate_private_key(_CURVE)
        issuer = self.certificate.subject
        built = (
            _begun(_named(name), issuer, key.public_key(), self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            # Servers are each other's clients.
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([_place(host) for host in hosts]), critical=False)
        )
        return Certified(built.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _place(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise SettingsError(f"--host {host!r}: no name or address of a host") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

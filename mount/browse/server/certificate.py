"""The certificate of the page on a listened address: made here, kept, and known by its fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from catalog.access.settings import private_folder, write_private
from catalog.errors import LocalError

_DAYS = 397  # the most that browsers accept
_RENEWED = 30  # days before its end
_LONGEST = 64 << 10  # bytes of the file


class Certificate(NamedTuple):
    """A file with key and certificate (PEM, mode 0600), and the certificate's SHA-256 as browsers show it."""

    path: Path
    fingerprint: str


def certificate(folder: Path, host: str) -> Certificate:
    """The certificate for a name or an address; the same one for a year. Raises LocalError.

    `folder` is made, with mode 0700, if it is missing.
    """
    path = private_folder(folder) / f"{hashlib.sha256(host.encode()).hexdigest()[:16]}.pem"
    found = _kept(path, host)
    if found is None:
        found = _new(path, host)
    digest = found.fingerprint(hashes.SHA256()).hex().upper()
    return Certificate(path, ":".join(digest[i : i + 2] for i in range(0, len(digest), 2)))


def _kept(path: Path, host: str) -> x509.Certificate | None:
    """The certificate in a file; None if it is missing, damaged, of another name, or about to end."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LocalError(f"the certificate {path} can't be read: {e.strerror}", "check its permissions") from e
    try:
        key = serialization.load_pem_private_key(data, None)
        found = x509.load_pem_x509_certificate(data)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return None
    now = datetime.datetime.now(datetime.UTC)
    lasts = found.not_valid_before_utc <= now < found.not_valid_after_utc - datetime.timedelta(days=_RENEWED)
    return found if lasts and list(names) == [_name(host)] and key.public_key() == found.public_key() else None


def _new(path: Path, host: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rpdrive browse")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of other devices differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, private + made.public_bytes(serialization.Encoding.PEM))
    return made


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

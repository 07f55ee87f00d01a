"""Vectors of admins and signed records with one fault each."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from catalog.format.admins import make_admin, sign
from catalog.format.sealed import Kind, seal_object
from catalog.format.signed import seal_signed, signed_message
from catalog.format.vaultfile import _mac
from tests.kit import golden_vault as g
from tests.kit.make_page_faults import Fault, fault

NAME = "places/6d616368/00000001"


def vault_file_faults(made: g.GoldenVault) -> dict[str, Fault]:
    """Versions of vault.json, with a MAC that fits."""
    good = json.loads(made.objects["vault.json"])
    first, second = good["admins"]
    mark = {"of": "az://account/vault", "since": g.CREATED, "promoted": None}

    def changed(what: str, layer: str = "vault file", error: str = "Damaged", **fields: Any) -> Fault:
        row = {name: value for name, value in (good | fields).items() if value is not ...}
        row["mac"] = base64.b64encode(_mac(row, g.KEYS)).decode()
        return fault(what, error, layer, how="vault", replace={"vault.json": json.dumps(row).encode().hex()})

    def admin(what: str, **fields: Any) -> Fault:
        row = {name: value for name, value in (first | fields).items() if value is not ...}
        return changed(what, admins=[row, second])

    return {
        "vault-without-admins": changed("vault.json without a list of admins", admins=...),
        "vault-admins-too-many": changed("33 admins", admins=[{"algorithm": "later"}] * 33),
        "vault-admin-twice": changed("an admin twice", admins=[first, first]),
        "vault-admin-id-of-another": admin("an admin whose id is not that of its key", id=second["id"]),
        "vault-admin-without-algorithm": admin("an admin without an algorithm", algorithm=...),
        "vault-admin-public-short": admin("a public key of 3 bytes", public="AAAA"),
        "vault-admin-wrapped-short": admin("a wrapped key of 3 bytes", wrapped="AAAA"),
        "vault-admin-without-wrapped": admin("an admin without a wrapped key", wrapped=...),
        "vault-soft-delete-too-short": changed("a soft delete of 13 days", soft_delete_days=13),
        "vault-soft-delete-too-long": changed("a soft delete of 181 days", soft_delete_days=181),
        "vault-soft-delete-is-text": changed("a soft delete given as text", soft_delete_days="14"),
        "vault-without-soft-delete": changed("vault.json without soft_delete_days", soft_delete_days=...),
        "vault-without-immutable": changed("vault.json without immutable", immutable=...),
        "vault-immutable-is-false": changed("immutable given as false", immutable=False),
        "vault-immutable-days-zero": changed("immutable for 0 days", immutable={"days": 0, "locked": False}),
        "vault-immutable-locked-is-one": changed("locked given as 1", immutable={"days": 30, "locked": 1}),
        "vault-copy-is-null": changed("copy given as null", copy=None),
        "vault-copy-without-promoted": changed("a copy without promoted", copy={"of": "", "since": ""}),
        "vault-copy-of-too-long": changed("a copy of 1,001 characters", copy=mark | {"of": "ö" * 1001}),
        "vault-copy-promoted-is-true": changed("promoted given as true", copy=mark | {"promoted": True}),
        "vault-copy-promoted-negative": changed("promoted before 1970", copy=mark | {"promoted": -1}),
    }


def signed_faults(made: g.GoldenVault) -> dict[str, Fault]:
    stranger = make_admin(g.KEYS, g.fixed("stranger", 32), g.CREATED)
    admins = [a.to_json() for a in made.vault_file.admins]

    def read(what: str, layer: str, data: bytes, error: str = "Damaged", name: str = NAME) -> Fault:
        return fault(what, error, layer, how="signed", kind=7, name=name, admins=admins, data=data.hex())

    def sealed(*row: Any, name: str = NAME) -> bytes:
        with g.raw_frames():
            content = msgspec.msgpack.encode(row)
            return seal_object(g.KEYS, Kind.PLACES, name, content, salt=g.fixed("salt", 32))

    def opened(what: str, error: str, layer: str, admin: Any, passphrase: str | None) -> Fault:
        return fault(what, error, layer, how="admin", admin=admin, passphrase=passphrase)

    message = signed_message(g.VAULT_ID, NAME, b"content")
    good, other = sign(g.PRIVATE, message), NAME[:-1] + "2"
    with g.raw_frames():
        forged = seal_signed(
            g.KEYS, stranger, g.fixed("stranger", 32), Kind.PLACES, NAME, b"content", salt=g.fixed("salt", 32)
        )
    key = made.admin.id
    cut = admins[0]["wrapped"]
    costly = admins[1] | {"memory_kib": (256 << 10) + 1}
    return {
        "signed-by-nobody-known": read("a record signed by a key that is no admin's", "signature", forged),
        "signed-flipped": read(
            "a bit of the signature", "signature", sealed(b"content", key, good[:-1] + bytes([good[-1] ^ 1]))
        ),
        "signed-content-changed": read("another content", "signature", sealed(b"contents", key, good)),
        "signed-for-another-name": read(
            "a record that was signed under another name", "signature", sealed(b"content", key, good, name=other),
            name=other,
        ),
        "signed-for-another-vault": read(
            "a signature for another vault", "signature",
            sealed(b"content", key, sign(g.PRIVATE, signed_message(bytes(16), NAME, b"content"))),
        ),
        "signed-as-another-admin": read(
            "the signature of one admin with the id of another", "signature",
            sealed(b"content", made.vault_file.admins[1].id, good),
        ),
        "signed-key-id-short": read("a key id of 7 bytes", "message", sealed(b"content", key[:7], good)),
        "signed-signature-short": read("a signature of 63 bytes", "message", sealed(b"content", key, good[:63])),
        "signed-without-signature": read("no signature", "message", sealed(b"content", key)),
        "signed-of-four": read("an element more", "message", sealed(b"content", key, good, 1)),
        "signed-content-is-text": read("content given as text", "message", sealed("content", key, good)),
        "admin-wrapped-changed": opened(
            "the wrapped key changed", "Damaged", "admin",
            admins[0] | {"wrapped": ("B" if cut[0] == "A" else "A") + cut[1:]}, None,
        ),
        "admin-wrapped-of-another": opened(
            "an admin with the private key of another", "Damaged", "admin", _of_another(), None
        ),
        "admin-locked": opened("a passphrase is needed", "Locked", "admin", admins[1], None),
        "admin-passphrase-wrong": opened(
            "the passphrase of the vault", "WrongPassphrase", "slot", admins[1], g.PASSPHRASE
        ),
        "admin-wrapped-unknown": opened(
            "a private key that is wrapped in an unknown way", "NewerFormat", "admin",
            admins[0] | {"kdf": "later"}, None,
        ),
        "admin-kdf-memory": opened(
            "Argon2id parameters out of bounds for an admin", "Damaged", "kdf parameters", costly, g.PIN
        ),
    }  # fmt: skip


def _of_another() -> dict[str, Any]:
    """An admin whose wrapped key, sealed as it should be, is not that of its public key."""
    from unittest import mock

    from catalog.format import admins

    public = make_admin(g.KEYS, g.PRIVATE, g.CREATED).public
    with mock.patch.object(admins, "public_key", lambda private: public):
        return make_admin(g.KEYS, g.fixed("another key", 32), g.CREATED).to_json()

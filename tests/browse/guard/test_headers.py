"""Every answer has the headers of its origin, whatever the code behind the guard says."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys

import pytest

from mount.browse.guard.headers import SANDBOX, START, app_policy, guarded, pdf_policy
from mount.browse.guard.hosts import LoopbackHosts, Site

APP: Site = LoopbackHosts().site([b"127.0.0.1:8080"])
CONTENTS: Site = LoopbackHosts().site([b"localhost:8080"])


def test_the_apps_policy_is_the_one_that_was_reviewed() -> None:
    start = base64.b64encode(hashlib.sha256(START.encode()).digest()).decode()
    assert app_policy(APP) == (
        f"default-src 'none'; script-src 'self' 'sha256-{start}'; style-src 'self'; "
        "img-src 'self' http://localhost:8080; connect-src 'self'; frame-src http://localhost:8080; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types lit-html"
    )


def test_the_app_says_all_that_it_has_to_say() -> None:
    found = dict(guarded([(b"content-type", b"text/html")], APP))
    assert found == {
        b"content-type": b"text/html",
        b"content-security-policy": app_policy(APP).encode(),
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"x-frame-options": b"DENY",
        b"cache-control": b"no-store",
    }


@pytest.mark.parametrize("site", [APP, CONTENTS, None])
def test_no_answer_weakens_a_header(site: Site | None) -> None:
    weak = [
        (b"Content-Security-Policy", b"script-src *"), (b"X-Content-Type-Options", b""),
        (b"Referrer-Policy", b"unsafe-url"), (b"Cross-Origin-Resource-Policy", b"cross-origin"),
    ]  # fmt: skip
    assert sorted(guarded(weak, site)) == sorted(guarded([], site))


def test_contents_are_sandboxed_unless_they_are_a_pdf() -> None:
    def policy(*given: bytes) -> bytes:
        return dict(guarded([(b"content-security-policy", one) for one in given], CONTENTS))[
            b"content-security-policy"
        ]

    assert policy() == policy(b"default-src *") == SANDBOX.encode() == b"sandbox; default-src 'none'"
    pdf = pdf_policy(CONTENTS)
    assert policy(pdf.encode()) == pdf.encode()
    assert pdf == "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors http://127.0.0.1:8080"
    assert dict(guarded([], CONTENTS))[b"cross-origin-resource-policy"] == b"cross-origin"


def test_files_of_the_page_may_be_kept() -> None:
    kept = b"public, max-age=31536000, immutable"
    assert dict(guarded([(b"Cache-Control", kept)], APP))[b"cache-control"] == kept


def test_the_shell_and_its_hash_are_the_same_whatever_encoding_a_machine_has() -> None:
    """Windows has cp1252 or another, and the shell an ellipsis."""
    code = "from mount.browse.pages.shell import Pages; import sys; sys.stdout.buffer.write(Pages().shell)"
    kinds: list[dict[str, str]] = [{"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
    unicode, plain = (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "LC_ALL": "C", **kind}, capture_output=True, check=True
        ).stdout
        for kind in kinds
    )
    assert "Starting …".encode() in unicode == plain
    assert START.encode() in unicode

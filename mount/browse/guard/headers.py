"""The headers that every answer has, errors included: what a browser must not do with it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from mount.browse.guard.hosts import Site

Headers: TypeAlias = list[tuple[bytes, bytes]]

# The script in the shell itself: the only one that the policy allows beside files.
START = (Path(__file__).parent / "start.js").read_text("utf-8")
_START = f"'sha256-{base64.b64encode(hashlib.sha256(START.encode()).digest()).decode()}'"

SANDBOX = "sandbox; default-src 'none'"
_POLICY, _CACHE = b"content-security-policy", b"cache-control"
_COMMON: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_APP: Headers = [
    *_COMMON,
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
_CONTENTS: Headers = [*_COMMON, (b"cross-origin-resource-policy", b"cross-origin")]


def app_policy(site: Site) -> str:
    """The Content-Security-Policy of the app: its own scripts and styles, and pictures and frames of contents."""
    contents = str(site.contents)
    return "; ".join((
        "default-src 'none'", f"script-src 'self' {_START}", "style-src 'self'", f"img-src 'self' {contents}",
        "connect-src 'self'", f"frame-src {contents}", "form-action 'self'", "base-uri 'none'",
        "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types lit-html",
    ))  # fmt: skip


def pdf_policy(site: Site) -> str:
    """The policy of a PDF: Chromium's viewer refuses a sandboxed document."""
    return f"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors {site.app}"


def guarded(headers: Iterable[tuple[bytes, bytes]], site: Site | None) -> Headers:
    """The headers of an answer, with those of its origin in place of what the answer has of the same names.

    Two things are the answer's own: how long it may be kept (not at all, unless it says so), and, for contents,
    which of the two policies it has. `site` is None if the request's Host was refused: then nothing is allowed.
    """
    found = [(name.lower(), value) for name, value in headers]
    contents = site is None or site.is_contents
    policy = SANDBOX
    if site is not None and not contents:
        policy = app_policy(site)
    elif site is not None and (_POLICY, pdf_policy(site).encode()) in found:
        policy = pdf_policy(site)
    forced = [(_POLICY, policy.encode()), *(_CONTENTS if contents else _APP)]
    names = {name for name, _value in forced}
    kept = [(name, value) for name, value in found if name not in names]
    if not any(name == _CACHE for name, _value in kept):
        kept.append((_CACHE, b"no-store"))
    return kept + forced

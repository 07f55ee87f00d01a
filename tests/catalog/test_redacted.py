"""No secret gets to stderr, into a log or into an error log, whoever quotes it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from catalog.screen.redacted import redacted
from catalog.vault import Vault
from tests.kit.cli import Cli

SAS = "sv=2024-01-01&sr=c&sp=racwdl&se=2027-01-01T00%3A00%3A00Z&sig=VERYSECRET%2Bsignature%3D"
SECRET = "VERYSECRET"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"GET /c/vault.json?{SAS} failed", f"GET /c/vault.json?{SAS.partition('sig=')[0]}sig=… failed"),
        (f"(url='https://a/c?{SAS}', x)", f"(url='https://a/c?{SAS.partition('sig=')[0]}sig=…', x)"),
        ("copy-source%3Fsv%3D1%26SIG%3DVERYSECRET%252B", "copy-source%3Fsv%3D1%26SIG%3D…"),
        ("AccountName=a;AccountKey=VERYSECRET+/a==;BlobEndpoint=x", "AccountName=a;AccountKey=…;BlobEndpoint=x"),
        ("{'Authorization': 'Bearer VERYSECRET.a-b_c'}", "{'Authorization': 'Bearer …'}"),
        ("Authorization: SharedKey account:VERYSECRET=", "Authorization: SharedKey …"),
    ],
)
def test_secrets_are_left_out(text: str, wanted: str) -> None:
    assert SECRET not in redacted(text)
    if SECRET in text:
        assert redacted(text) == wanted


def test_plain_messages_stay_as_they_are() -> None:
    for text in ("a bearer of news", "no answer from account/container", "a design=x, sigma=1", "a=b&c=d", "é — …"):
        assert redacted(text) == text


def test_verbose_does_not_show_the_token(rpdrive: Cli) -> None:
    """Nobody listens there, as when the network is away: the SDK's own exceptions quote the URL."""
    away = {"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:9", "AZURE_STORAGE_SAS_TOKEN": SAS}
    script = (
        "import sys, catalog.store.retrying as r, rpdrive\n"
        "r.RetryingStore._pass_on = lambda self, request, call: call()\n"
        "sys.argv[0] = 'rpdrive'; rpdrive.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "-v", "--vault", "azure://account1/container1", "points"],
        env=rpdrive.environ | away, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert "because of ServiceRequestError" in done.stderr and "sig=…" in done.stderr
    assert SECRET not in done.stderr + done.stdout


@pytest.mark.parametrize("way", ["print", "log", "thread", "raise", "json"])
def test_no_way_to_stderr_is_left(rpdrive: Cli, vault: Vault, way: str) -> None:
    script = f"""
import logging, sys, threading
import rpdrive
from catalog.access.session import Session
from catalog.errors import StoreError
TEXT = "https://a/c?{SAS}"
def fail():
    try:
        raise OSError(TEXT)
    except OSError as e:
        raise RuntimeError("first " + TEXT) from e
def open_vault(self, **options):
    if {way!r} == "print":
        print(TEXT, file=sys.stderr)
    elif {way!r} == "log":
        try:
            fail()
        except RuntimeError:
            logging.getLogger("urllib3.any").exception("it failed: %s", TEXT)
    elif {way!r} == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    elif {way!r} == "raise":
        fail()
    raise StoreError(TEXT)
Session.open_vault = open_vault
sys.argv[0] = "rpdrive"
rpdrive.main()
"""
    words = ["-v", "points", *(["--json"] if way == "json" else [])]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=rpdrive.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == (70 if way == "raise" else 5), done
    assert "sig=…" in done.stderr or "sig=\\u2026" in done.stderr
    left = "".join(path.read_text() for path in rpdrive.home.rglob("*.log"))
    assert ("sig=…" in left) == (way == "raise")
    assert SECRET not in done.stdout + done.stderr + left


def test_a_drive_log_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog.screen.redacted import log_to_stderr, protect_stderr

    raw = io.BytesIO()
    root = logging.getLogger()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, "utf-8", line_buffering=True))
    monkeypatch.setattr(root, "handlers", [])
    protect_stderr()
    log_to_stderr("%(message)s", logging.WARNING)
    try:
        raise OSError(f"Failed to parse headers (url=https://a/c?{SAS})")
    except OSError:
        logging.getLogger("urllib3.connection").exception("failed")
    sys.stderr.flush()
    text = raw.getvalue().decode()
    assert "sig=…" in text and SECRET not in text

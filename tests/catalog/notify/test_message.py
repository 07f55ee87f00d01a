"""Messages for people: what they say, and that names in them do no harm."""

from __future__ import annotations

from email import message_from_bytes, policy
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.notify.event import Severity, What
from catalog.notify.http import document_of
from catalog.notify.mail import mail_of
from catalog.notify.message import message_of
from catalog.notify.targets import Smtp
from tests.catalog.notify.events import HOUR, NOW, event

TARGET = Smtp(host="h", to=["ops@example.org", "boss@example.org"], sender="backup@example.org")
NASTY = "x\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script>\x1b[31m\u202e&amp;\ud800"


def test_a_message_says_what_happened_and_what_to_do() -> None:
    message = message_of(event())
    assert message.subject == "SRV01: home: backup failed"
    assert message.text.splitlines()[0] == "The vault could not be reached: no route to host."
    for line in (
        "Alert:   backup.failed (warning)",
        "Error:   StoreUnreachable",
        "What to do: Check the network, then run the backup again.",
        "    rpdrive backup --item home",
    ):
        assert line in message.text.splitlines()


@pytest.mark.parametrize(
    ("made", "subject"),
    [
        (event(severity=Severity.CRITICAL), "SRV01: home: backup failed (critical)"),
        (event(What.REMINDED), "Still: SRV01: home: backup failed"),
        (event(What.RESOLVED, severity=Severity.CRITICAL), "Resolved: SRV01: home: backup failed"),
        (event(machine="", item=""), "backup failed"),
        (event(title="", item="x" * 400), "SRV01: " + "x" * 142 + "…"),
    ],
)
def test_subjects(made: object, subject: str) -> None:
    assert message_of(made).subject == subject  # type: ignore[arg-type]


def test_a_resolved_alert_says_how_long_it_lasted() -> None:
    assert "Lasted:  5 h" in message_of(event(What.RESOLVED, time=NOW + 5 * HOUR)).text


def test_mails_about_one_alert_are_a_thread() -> None:
    opened = mail_of(TARGET, event())
    reminded = mail_of(TARGET, event(What.REMINDED, time=NOW + 24 * HOUR))
    resolved = mail_of(TARGET, event(What.RESOLVED, time=NOW + 25 * HOUR))
    assert opened["In-Reply-To"] is None
    for later in (reminded, resolved):
        assert later["In-Reply-To"] == later["References"] == opened["Message-ID"]
    assert len({m["Message-ID"] for m in (opened, reminded, resolved)}) == 3
    assert mail_of(TARGET, event())["Message-ID"] == opened["Message-ID"]
    assert mail_of(TARGET, event(key="k2"))["Message-ID"] != opened["Message-ID"]


def test_headers_that_machines_read() -> None:
    mail = mail_of(TARGET, event(severity=Severity.CRITICAL))
    assert mail["Auto-Submitted"] == "auto-generated" and mail["Importance"] == "high"
    assert mail["To"] == "ops@example.org, boss@example.org" and mail["From"] == "rpdrive <backup@example.org>"
    assert mail["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"


class Tags(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags = set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def check_harmless(name: str) -> None:
    made = event(
        machine=name, item=name, title=name, text=name, advice=name, command=name, alert=name, fields={name: name}
    )
    raw = mail_of(TARGET, made).as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert mail["Bcc"] is None and mail["To"] == "ops@example.org, boss@example.org"
    assert set(mail.keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted",
                                "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"}  # fmt: skip
    parts = [part.get_content() for part in mail.walk() if not part.is_multipart()]
    assert len(parts) == 2 and "\x1b" not in parts[0] and "\u202e" not in parts[0]
    tags = Tags()
    tags.feed(parts[1])
    assert tags.tags <= {"html", "body", "div", "h2", "p", "br", "table", "tr", "td", "b", "pre"}
    assert "\n" not in document_of(made)["subject"]


def test_names_add_no_header_line_or_markup() -> None:
    check_harmless(NASTY)


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_no_name_does_harm(name: str) -> None:
    check_harmless(name)

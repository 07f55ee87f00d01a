"""An event as words: the subject, the text and the HTML of a message for a tired person.

Names of machines, items and paths are made safe, so that no line, header or mark-up comes from them.
"""

from __future__ import annotations

from datetime import UTC
from html import escape
from typing import NamedTuple

from catalog.notify.event import Event, Severity, What
from catalog.notify.matching import local_of
from catalog.screen.text import duration_text, safe_text

_LONGEST_SUBJECT, _LONGEST_FIELD, _LONGEST_TEXT = 150, 1_000, 20_000  # characters
_COLOURS = {Severity.INFO: "#2b6cb0", Severity.WARNING: "#b7791f", Severity.CRITICAL: "#c53030"}
_RESOLVED = "#2f855a"
_NS = 10**9


class Message(NamedTuple):
    """One event, as a subject of one line, plain text and HTML."""

    subject: str
    text: str
    html: str


def message_of(event: Event) -> Message:
    """The message of an event; times are this machine's local ones."""
    subject = subject_of(event)
    facts = facts_of(event)
    lines = [_long(event.text)] if event.text else []
    if facts and event.what is not What.DIGEST:
        width = max(len(name) for name, _ in facts) + 1
        lines.append("\n".join(f"{name + ':':<{width}} {value}" for name, value in facts))
    if event.advice:
        lines.append(f"What to do: {_long(event.advice)}")
    if event.command:
        lines.append(f"    {safe_text(event.command)}")
    return Message(subject, "\n\n".join(lines) + "\n", event.html or _html(event, facts))


def subject_of(event: Event) -> str:
    """What happened to what on which machine, in one line of printable characters."""
    where = event.machine
    what = event.title or event.alert
    if event.item:
        what = f"{event.item}: {what}"
    prefix = {What.REMINDED: "Still: ", What.RESOLVED: "Resolved: "}.get(event.what, "")
    text = f"{prefix}{where}: {what}" if where else f"{prefix}{what}"
    if event.what in (What.OPENED, What.REMINDED) and event.severity is Severity.CRITICAL:
        text += " (critical)"
    text = safe_text(" ".join(text.split()))
    return text if len(text) <= _LONGEST_SUBJECT else text[: _LONGEST_SUBJECT - 1] + "…"


def facts_of(event: Event) -> list[tuple[str, str]]:
    """Rows of names and values, made safe."""
    rows = [("Machine", event.machine), ("Item", event.item)]
    if event.what in (What.OPENED, What.REMINDED, What.RESOLVED):
        rows += [("Alert", f"{event.alert} ({event.severity})"), ("Since", time_text(event.opened or event.time))]
        if event.what is not What.OPENED and event.opened:
            lasted = duration_text((event.time - event.opened) / _NS)
            rows.append(("Lasted" if event.what is What.RESOLVED else "Lasting", lasted))
    rows += [("Time", time_text(event.time)), *event.fields.items()]
    return [
        (safe_text(name)[:60], safe_text(" ".join(value.split()))[:_LONGEST_FIELD]) for name, value in rows if value
    ]


def time_text(time: int) -> str:
    """A time (ns, UTC) with its zone: a mail is read elsewhere."""
    return local_of(time, UTC).astimezone().strftime("%a %Y-%m-%d %H:%M %z")


def _long(text: str) -> str:
    """A text of several lines, made safe; the start of a very long one."""
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "…"
    return "\n".join(safe_text(line) for line in text.splitlines())


def _html(event: Event, facts: list[tuple[str, str]]) -> str:
    colour = _RESOLVED if event.what is What.RESOLVED else _COLOURS[event.severity]
    rows = "".join(
        f'<tr><td style="padding:2px 14px 2px 0;color:#718096;vertical-align:top">{escape(name)}</td>'
        f'<td style="padding:2px 0">{escape(value)}</td></tr>'
        for name, value in facts
    )
    parts = [f"<p>{escape(_long(event.text)).replace(chr(10), '<br>')}</p>"] if event.text else []
    parts.append(f'<table style="border-collapse:collapse;font-size:14px">{rows}</table>')
    if event.advice:
        parts.append(f"<p><b>What to do:</b> {escape(_long(event.advice)).replace(chr(10), '<br>')}</p>")
    if event.command:
        parts.append(
            '<pre style="background:#f7fafc;border:1px solid #e2e8f0;border-radius:4px;padding:8px 10px;'
            f'white-space:pre-wrap">{escape(safe_text(event.command))}</pre>'
        )
    return (
        '<!doctype html><html><body style="margin:0;padding:16px;font-family:system-ui,sans-serif;color:#1a202c">'
        f'<div style="max-width:640px;border-left:5px solid {colour};padding:2px 0 2px 16px">'
        f'<h2 style="margin:0 0 8px;font-size:18px;color:{colour}">{escape(subject_of(event))}</h2>'
        f'{"".join(parts)}<p style="color:#a0aec0;font-size:12px">Sent by rpdrive.</p></div></body></html>'
    )

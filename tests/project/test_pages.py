"""The pages of documentation: their links lead somewhere, and the messages that they quote exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
_QUOTED = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
_SHORTEST = 8  # characters; a shorter part of a quotation proves nothing


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page can be linked by, as GitHub makes them."""
    found = set[str]()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add("#" + text.replace(" ", "-"))
    return found


def broken_links(page: Path, text: str) -> list[str]:
    found = []
    for target, fragment in _LINK.findall(text):
        if "://" in target:
            continue
        other = (page.parent / target) if target else page
        if not other.exists() or (fragment and fragment not in anchors(other)):
            found.append(target + fragment)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_is_seen() -> None:
    text = "[a](README.md) [b](no-such.md) [c](README.md#no-such-heading) [d](https://example.org/)"
    assert broken_links(ROOT / "README.md", text) == ["no-such.md", "README.md#no-such-heading"]


def messages() -> list[str]:
    """Every string in the sources; a `…` stands for each value that an f-string inserts."""
    found = set[str]()
    for package in ("catalog", "cache", "mount", "backup"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
                    found.add("".join(parts))
    return sorted(found)


def says(message: str, part: str) -> bool:
    """Whether a part of a quotation is in a message, or is its text before a value, and then the value."""
    if part in message:
        return True
    before_values = message.split("…")[:-1]
    return any(text.endswith(part[:n]) for text in before_values for n in range(_SHORTEST, len(part)))


def unknown_quotations(page: str, known: list[str]) -> list[str]:
    """Parts of bold quotations that no message has. `…` leaves a value out, ` / ` joins messages."""
    missing = []
    for quotation in _QUOTED.findall(page):
        text = " ".join(quotation.split())
        if text[:1].isupper():  # a title or an error kind, not a message
            continue
        parts = [part.strip(' ."') for part in re.split(r"…|\b\d+\b| / |; ", text)]
        missing += [p for p in parts if len(p) >= _SHORTEST and not any(says(message, p) for message in known)]
    return missing


def test_troubleshooting_quotes_messages_that_exist() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    assert len(_QUOTED.findall(page)) > 40
    assert unknown_quotations(page, messages()) == []


def test_a_message_that_does_not_exist_is_seen() -> None:
    known = ["the vault … is gone", "the drive at … is in use by …; leave it"]
    assert unknown_quotations("**the vault … fell off the table** (5).", known) == ["fell off the table"]
    assert unknown_quotations("**the drive at … is in use by bash** (10).", known) == []
    assert unknown_quotations("**the drive at /mnt is in use by bash** (10).", known) == []

"""For each rule a history that goes wrong without it, as a search found it: witnesses.txt."""

from __future__ import annotations

from pathlib import Path

_FILE = Path(__file__).with_name("witnesses.txt")


def read() -> dict[str, tuple[str, ...]]:
    """The histories by rule."""
    found: dict[str, tuple[str, ...]] = {}
    for part in _FILE.read_text().split("\n\n") if _FILE.exists() else ():
        rule, *history = part.strip().splitlines()
        found[rule] = tuple(label.strip() for label in history)
    return found


def write(histories: dict[str, tuple[str, ...]]) -> None:
    parts = ("\n".join((rule, *(f"    {label}" for label in histories[rule]))) for rule in sorted(histories))
    _FILE.write_text("\n\n".join(parts) + "\n")

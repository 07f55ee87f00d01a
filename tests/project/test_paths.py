"""Every path of the repository that a workflow, the Makefile, a script or a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = ("backup", "benchmarks", "cache", "catalog", "docs", "mount", "tests", r"\.ci", r"\.github")
# A path from the top of the repository, in code or prose; not a part of a longer path, or of an address.
PATH = re.compile(rf"(?<![\w./:-])(?:{'|'.join(TOP)})/[\w./-]*\w/?")
MODULE = re.compile(r"-m (tests(?:\.\w+)+)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
FILES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        ".github/workflows/*.yml",
        ".ci/*",
        "Makefile",
        "pyproject.toml",
        "tests/*.sh",
    )
    for path in ROOT.glob(pattern)
)


def missing(text: str, folder: Path) -> set[str]:
    """What a text in a folder names that is not there."""
    # `tests/mount/test_*.py` is no name.
    paths = {found[0] for found in PATH.finditer(text) if text[found.end() : found.end() + 1] not in ("*", "_")}
    modules = {_module(name.replace(".", "/")) for name in MODULE.findall(text)}
    links = {(folder / link).resolve().relative_to(ROOT).as_posix() for link in LINK.findall(text)}
    # docs/windows.md names tests by their path in tests/.
    places = ("{}", "tests/{}.py")
    return {
        path
        for path in paths | modules | links
        if not any((ROOT / place.format(path)).exists() for place in places)
    }


def _module(path: str) -> str:
    """The file that `-m` runs."""
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_named_is_there(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8"), path.parent) == set()


def test_what_is_not_there_is_seen() -> None:
    text = "run tests/mount/test_no.py, `docs/no.md` and [a page](no.md); `python -m tests.kit.no`; tests/kit/ is"
    assert missing(text, ROOT / "docs") == {"tests/mount/test_no.py", "docs/no.md", "tests/kit/no.py"}
    assert missing("https://example.com/docs/no.md /docs/no.md x.tests/no", ROOT) == set()

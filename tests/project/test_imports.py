"""Imports run one way only, and starting the command loads nothing that it may not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ["catalog", "cache", "mount", "backup", "rpdrive"]

# Who may import whom. A part is a package, or a folder of catalog that has a rule of its own.
ALLOWED = {
    "catalog.format": {"catalog.errors", "catalog.format"},
    "catalog.store": {"catalog.errors", "catalog.store"},
    "catalog.errors": set(),
    "catalog": {"catalog", "catalog.errors", "catalog.format", "catalog.store"},
    "cache": {"cache", "catalog", "catalog.errors", "catalog.format", "catalog.store"},
    "mount": {"mount", "cache", "catalog", "catalog.errors", "catalog.format", "catalog.store"},
    "backup": {"backup", "cache", "catalog", "catalog.errors", "catalog.format", "catalog.store"},
}
ALLOWED["rpdrive"] = {part for allowed in ALLOWED.values() for part in allowed}


def part_of(module: str) -> str:
    for part in ("catalog.format", "catalog.store", "catalog.errors"):
        if module == part or module.startswith(part + "."):
            return part
    return module.split(".", 1)[0]


def sources() -> list[Path]:
    found = [path for package in OURS[:-1] for path in sorted((ROOT / package).rglob("*.py"))]
    return [*found, ROOT / "rpdrive.py"]


def imported(tree: ast.AST, package: str) -> set[str]:
    """Every module that the source names in an import, at any depth of it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(filter(None, [*above, base]))
            # `from catalog import store` may name a module.
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return found


def arrows(text: str, module: str, package: str) -> set[tuple[str, str]]:
    mine = part_of(module)
    theirs = {part_of(name) for name in imported(ast.parse(text), package) if name.split(".")[0] in OURS}
    # `from catalog.store import x` names catalog.store and catalog.store.x: one part.
    return {(mine, part) for part in theirs}


def module_name(path: Path) -> tuple[str, str]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__":
        return ".".join(parts[:-1]), ".".join(parts[:-1])
    return ".".join(parts), ".".join(parts[:-1])


def test_imports_run_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {mine} must not import {theirs}"
        for path in sources()
        for mine, theirs in sorted(arrows(path.read_text(), *module_name(path)))
        if theirs not in ALLOWED[mine]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("catalog.format.packs", "from catalog.store.base import Store"),
        ("catalog.store.local", "def f():\n    import catalog.format.packs"),
        ("catalog.vault", "import cache.reader"),
        ("cache.reader", "from mount import view"),
        ("mount.view.nodes", "if True:\n    from backup.run import x"),
        ("backup.run", "import mount"),
        ("catalog.errors", "from .vault import Vault"),
        ("catalog.store.local", "from .. import format"),
        ("catalog.store.local", "from catalog import format"),
        ("backup.run", "import rpdrive"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, text: str) -> None:
    package = module.rpartition(".")[0]
    assert any(theirs not in ALLOWED[mine] for mine, theirs in arrows(text, module, package))


def test_every_source_is_walked() -> None:
    walked = {path.relative_to(ROOT).as_posix() for path in sources()}
    assert {"catalog/errors.py", "catalog/store/base.py", "catalog/format/packs.py"} <= walked


def test_starting_the_command_loads_no_sdk_and_no_driver() -> None:
    code = (
        "import sys, rpdrive\n"
        "heavy = {'azure', 'requests', 'fuse', 'winfspy', 'diskcache', 'pyfastcdc', 'sqlite3'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"import rpdrive loads {done.stderr}"

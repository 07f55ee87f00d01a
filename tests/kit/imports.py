"""The import graph of the code, read from its sources: modules, rooms, circles and arrows.

`python -m tests.kit.imports` prints it by package, and exits with 1 if there is a circle, or an arrow that the
table in tests/kit/rooms.py doesn't allow. Every import counts: at the top, in a function, under TYPE_CHECKING, by
`import_module`, and a module that a table names as a string.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.kit.rooms import ROOMS

ROOT = Path(__file__).parents[2]
PACKAGES = ("catalog", "cache", "mount", "backup")
LINES_MAX = 500

Graph = Mapping[str, set[str]]  # each module, and the modules it imports
Arrow = tuple[str, str]


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the program by its dotted name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    found = {}
    for path in [*paths, root / "rpdrive.py"]:
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(text: str, module: str, is_package: bool, known: set[str]) -> set[str]:
    """The modules among `known` that a source imports, at any depth."""
    found: set[str] = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                names = {alias.name for alias in node.names}
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                # `from catalog import store` names a module; `from catalog.store import name` need not.
                names = {name if (name := f"{base}.{alias.name}") in known else base for alias in node.names}
            case ast.Constant(value=str() as text) if "." in text:
                names = {text}
            case _:
                continue
        found.update(names & known)
    return found - {module}


@cache
def graph() -> Graph:
    """The modules and their imports. Read once: parsing every source takes seconds."""
    found = sources()
    return {
        module: imported(path.read_text(encoding="utf-8"), module, path.name == "__init__.py", set(found))
        for module, path in found.items()
    }


def components(modules: Graph) -> list[set[str]]:
    """Groups of modules that reach each other (Tarjan), the lowest first. A group of one is no circle."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    pending: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        pending.append(module)
        for other in sorted(modules[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in pending:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            cut = pending.index(module)
            found.append(set(pending[cut:]))
            del pending[cut:]

    for module in sorted(modules):
        if module not in index:
            visit(module)
    return found


def circles(modules: Graph) -> set[frozenset[str]]:
    """Groups of two or more modules that import each other, directly or through others."""
    return {frozenset(group) for group in components(modules) if len(group) > 1}


def room_of(module: str, rooms: Mapping[str, str] = ROOMS) -> str | None:
    """The room a module belongs to; None if no row of the table fits. A package's own `__init__` has none."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in rooms), None)


def wrong_arrows(modules: Graph, rooms: Mapping[str, str] = ROOMS) -> set[Arrow]:
    """Imports from one room into another that its row doesn't name."""
    return {
        (module, other)
        for module, others in modules.items()
        for other in others
        if (mine := room_of(module, rooms)) is not None
        and (theirs := room_of(other, rooms)) != mine
        and theirs not in rooms[mine].split()
    }


def room_arrows(modules: Graph, rooms: Mapping[str, str] = ROOMS) -> dict[str, set[str]]:
    """Each room, and the rooms its modules import."""
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module, others in modules.items():
        mine = room_of(module, rooms)
        if mine is not None:
            found[mine] |= {theirs for other in others if (theirs := room_of(other, rooms)) and theirs != mine}
    return found


def floors(arrows: Graph) -> dict[str, int]:
    """The floor of each room: 1 + the highest floor it imports. Rooms that form a circle share one."""
    found: dict[str, int] = {}
    for group in components(arrows):
        below = {other for room in group for other in arrows[room]} - group
        found.update(dict.fromkeys(group, 1 + max((found[room] for room in below), default=0)))
    return found


def long_files(found: Mapping[str, Path]) -> dict[str, int]:
    """Files of more than LINES_MAX lines, by their path in the repository, with their count."""
    counts = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n") for path in found.values()
    }
    return {path: count for path, count in counts.items() if count > LINES_MAX}


def lines(modules: Graph) -> Iterator[str]:
    """The graph as text."""
    arrows = room_arrows(modules)
    for package in PACKAGES:
        inside = {room for room in ROOMS if room.split(".")[0] == package}
        own = {room: arrows[room] & inside for room in inside}
        heights = floors(own)
        count = sum(map(len, own.values()))
        yield f"{package}: {len(own)} rooms on {max(heights.values())} floors, {count} arrows"
        for room in sorted(own, key=lambda room: (-heights[room], room)):
            short = [other.removeprefix(f"{package}.") for other in sorted(own[room])]
            outside = sorted(arrows[room] - inside)
            yield f"  {heights[room]:2} {room}: {', '.join([*short, *outside]) or 'nothing'}"
    yield f"rpdrive: {', '.join(sorted(arrows['rpdrive']))}"
    found = circles(modules)
    yield f"circles: {len(found) or 'none'}"
    yield from (f"  {' <-> '.join(sorted(circle))}" for circle in sorted(found, key=sorted))
    wrong = wrong_arrows(modules)
    yield f"arrows up, or not in the table: {len(wrong) or 'none'}"
    yield from (f"  {mine} -> {theirs}" for mine, theirs in sorted(wrong))


def main() -> int:
    modules = graph()
    print("\n".join(lines(modules)))
    return 1 if circles(modules) or wrong_arrows(modules) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compares points with the frozen source of their moment, by several readers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from catalog.errors import WITH_PROBLEMS, Damaged, ObjectNotFound, RpdriveError
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import open_vault
from tests.kit import independent_reader
from tests.kit.recorded import PointReader, Seen, Snapshot, of_source
from tests.kit.vaults import PASSPHRASE
from tests.siege.command import Command, Ended
from tests.siege.plan import QUIET, Plan
from tests.siege.trees import Frozen
from tests.siege.world import Fault, Machine, World

PARTIALS = 8  # points of a comparison that may be partial ones; a run can leave very many


class ReadNames(StoreWrapper):
    """Notes the names of the objects that are read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.names: set[str] = set()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind in ("get", "read", "size"):
            self.names.add(request.name)
        return call()


def listed(world: World, machine: Machine | None = None) -> list[str]:
    """The ids of the whole points that `rpdrive points` lists."""
    done = world.run(
        machine or world.machine, "points", "--all", "--json", codes=(0,) if not world.damaged else (0, 7, 9)
    )
    return [row["id"] for row in json.loads(done.out)["points"]] if done.out else []


def verify(world: World, *, every: bool = False) -> None:
    """All points that have to be there are, and those not verified yet (or `every` one) equal their source."""
    ids = set(listed(world))
    damaged = {name.rpartition("-")[2] for name in world.damaged if name.startswith("points/")}
    if lost := world.expected.keys() - ids - damaged:
        raise Fault("lost", f"points {sorted(lost)} are not listed any more")
    if strange := ids - world.expected.keys():
        raise Fault("wrong bytes", f"points {sorted(strange)} are listed, and nobody made them")
    store = ReadNames(LocalStore(world.vault_folder))
    vault = open_vault(store, passphrase=PASSPHRASE)
    try:
        names = vault.point_names(partial=True)
        partial = {n.id for n in world.rng.sample(names, min(len(names), PARTIALS)) if n.partial}
        for name in names:
            store.names.clear()
            key = name.id.hex()
            if name.id in partial and not world.damaged:
                try:
                    PointReader(vault).snapshot(vault.point(name))
                except (Damaged, ObjectNotFound) as e:
                    raise Fault("lost", f"partial point {key} can't be read: {e}") from e
            if name.partial or key not in world.expected or not (every or key in world.unverified):
                continue
            try:
                point = vault.point(name)
                found = PointReader(vault).snapshot(point, Path(os.fsdecode(point.paths[0])))
            except RpdriveError as e:
                if key in world.doubtful:
                    continue  # reported, and not by mistake
                if store.names & world.unnoticed:
                    world.doubtful.add(key)  # nobody could know
                    continue
                sort = "not healed" if store.names & world.damaged else "lost"
                raise Fault(sort, f"whole point {key} can't be read: {type(e).__name__}: {e}") from e
            world.closures[key] = set(store.names)
            compare(world, key, found, "library")
            world.unverified.discard(key)
    finally:
        vault.store.close()


def compare(world: World, key: str, found: Snapshot, reader: str, *, only: bool = False) -> None:
    """One point as a reader sees it equals the source of its moment."""
    world.tally.compared += 1
    if difference := world.expected[key].difference(found, only=only):
        raise Fault("wrong bytes", f"point {key} of state {world.expected[key].number}, by {reader}: {difference}")


def newest(world: World, machine: Machine) -> str | None:
    """The id of the newest point that holds this machine's source as it is now."""
    vault = world.opened()
    rows = [n for n in vault.point_names() if world.expected.get(n.id.hex()) is machine.frozen]
    vault.store.close()
    return max(rows, key=lambda n: n.sequence).id.hex() if rows else None


# --- the command's own readers ------------------------------------------------------------------------------


def by_restore(world: World, machine: Machine, key: str, plan: Plan = QUIET) -> None:
    """Restore a point, and compare what is on the disk."""
    root = world.roots[key]
    out = world.folder / "restored"
    done = world.run(
        machine,
        "restore",
        key,
        "--to",
        str(out),
        "--trust-modes",  # of another machine, too, or of one that was moved away and has another id now
        "--json",
        plan=plan,
        codes=(0,) if not world.may_be_damaged(key) else (0, 3, 4, 5, 7, 9),
    )
    partly = done.code != 0
    place = out / root.relative_to("/")
    if place.exists():
        found = of_source(place)
        if partly:
            reported(world, key, found, done)
        else:
            compare(world, key, found, "restore")
    elif not partly:
        raise Fault("lost", f"point {key}: restore said 0 and made no {root}")
    world.tally.reported += partly
    shutil.rmtree(out, ignore_errors=True)


def reported(world: World, key: str, found: Snapshot, done: Ended) -> None:
    """What a restore of a damaged point left on the disk is right, and what it lacks was reported."""
    frozen: Frozen = world.expected[key]
    files = Snapshot({p: s for p, s in found.entries.items() if s.kind == independent_reader.FILE}, set())
    if difference := frozen.difference(files, only=True):
        raise Fault("wrong bytes", f"restored from damaged point {key}: {difference}")
    if frozen.lacks(found) and done.code == WITH_PROBLEMS and not json.loads(done.out)["problem_count"]:
        raise Fault("silent", f"restore of {key} lacks {frozen.lacks(found)[:5]} and reports nothing")


def by_drive(world: World, machine: Machine, key: str, *more: str) -> None:
    """Open a point as a drive, and compare what is on it."""
    root = world.roots[key]
    at = world.folder / "drive"
    at.mkdir(exist_ok=True)
    command = world.start(machine, "mount", str(at), "--point", key, "--foreground", *more)
    try:
        if not appears(command, at):
            world.ended(command)
            raise Fault("stuck", "the drive ended by itself")
        found = None if world.may_be_damaged(key) else of_source(at / root.relative_to("/"))
    except OSError as e:
        raise Fault("lost", f"point {key} can't be read on a drive: {e}") from e
    finally:
        closed = world.run(machine, "unmount", str(at), codes=range(256))
    if closed.code:
        raise Fault("stuck", f"unmount: exit {closed.code}: {closed.error}")
    world.ended(command)
    if found is not None:
        compare(world, key, found, "drive")


def by_drive_of_all(world: World) -> None:
    """Open all points as one drive: it shows each point once, and nothing else."""
    at = world.folder / "drive"
    at.mkdir(exist_ok=True)
    command = world.start(world.machine, "mount", str(at), "--foreground")
    found: list[tuple[str, Snapshot]] = []
    try:
        if not appears(command, at):
            world.ended(command)
            raise Fault("stuck", "the drive ended by itself")
        roots = sorted({str(root.relative_to("/")) for root in world.roots.values()})
        for point in sorted(p for p in at.glob("*/*/[0-9]*") if not p.is_symlink()):
            found += [
                (str(point.relative_to(at)), of_source(point / root)) for root in roots if (point / root).exists()
            ]
    finally:
        closed = world.run(world.machine, "unmount", str(at), codes=range(256))
    if closed.code:
        raise Fault("stuck", f"unmount: exit {closed.code}: {closed.error}")
    world.ended(command)
    left = list(world.expected.values())
    world.tally.compared += len(found)
    for name, snapshot in found:
        same = [state for state in left if not state.difference(snapshot)]
        if not same:
            raise Fault("wrong bytes", f"{name} on the drive of all points equals no state that is left")
        left.remove(same[0])
    if left:
        raise Fault(
            "lost", f"states {[state.number for state in left]} are not on the drive of all points: {found}"
        )


def appears(command: Command, at: Path) -> bool:
    """Wait until a drive is open; False if its command ended before."""
    for _ in range(1000):
        if os.path.ismount(at):
            return True
        if command.wait(0.02):
            return False
    raise Fault("hang", "no drive after 20 s")


def by_independent_reader(world: World, key: str) -> None:
    """Read a point by the reader that shares no code with rpdrive."""
    prefix = os.fsencode(world.roots[key]).strip(b"/") + b"/"
    entries: dict[bytes, Seen] = {}
    groups: dict[int, set[bytes]] = {}
    try:
        for path, entry in independent_reader.read_point(world.vault_folder, PASSPHRASE, key):
            content: object = None
            if entry.kind == independent_reader.FILE:
                digest, length = hashlib.blake2b(digest_size=16), 0
                for piece in entry.content:
                    digest.update(bytes(piece) if isinstance(piece, int) else piece)
                    length += piece if isinstance(piece, int) else len(piece)
                content = (digest.hexdigest(), length)
            elif entry.kind == independent_reader.SYMLINK:
                content = entry.target
            if path.startswith(prefix):
                here = path[len(prefix) :]
                entries[here] = Seen(
                    entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, content, entry.xattrs
                )
                if entry.link:
                    groups.setdefault(entry.link, set()).add(here)
    except independent_reader.REFUSED as e:
        if world.may_be_damaged(key):
            return
        raise Fault(
            "lost", f"whole point {key} is refused by the independent reader: {type(e).__name__}: {e}"
        ) from e
    compare(world, key, Snapshot(entries, {frozenset(g) for g in groups.values()}), "independent reader")

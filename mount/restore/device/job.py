"""`rpdrive restore POINT --to-device`: finds the image, refuses what can't be right, asks, writes, records it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.access.session import Session
from catalog.cost.before import Before
from catalog.cost.counts import RANGE
from catalog.cost.use import Use
from catalog.disks.geometry import BESIDE, MOST, SUFFIX, Geometry, decode
from catalog.errors import Damaged, LocalError, NotFound, RpdriveError, UsageError
from catalog.format.records import Outcome
from catalog.format.values import NodeKind, Paged
from catalog.hooks.around import Around, job_facts
from catalog.hooks.config import Stage, read_hooks
from catalog.interruption import was_stopped
from catalog.jobs.local import LocalJob, LocalJobs, new_job_id
from catalog.program import user_path
from catalog.schedule.history import Ran
from catalog.schedule.noted import begin, end
from catalog.screen.progress import Observer, Reporting
from catalog.screen.text import safe_text, size_text
from catalog.tree import Found, leaves, lookup
from catalog.vault import Vault
from mount.restore.contents import checked, positions
from mount.restore.device.target import DeviceTarget
from mount.restore.device.writing import Amounts, Writer
from mount.restore.source import Source, read_arguments, resolve

if TYPE_CHECKING:
    from cache.reader import Reader

MIB = 1 << 20
Ask = Callable[[list[str]], bool]  # shows lines, and returns whether a person said yes


class DeviceJob:
    """One restore to a device. `ask` is asked before anything is changed. Raises UsageError at once.

    After `run`: `amounts` of bytes, `notes` for people, and `record`.
    """

    def __init__(
        self,
        session: Session,
        places: list[str],
        device: str,
        *,
        verify: bool,
        discard: bool,
        dry_run: bool,
        ask: Ask,
    ) -> None:
        if len(places) != 1:
            raise UsageError("--to-device writes one image", "name one recovery point, or one image in it")
        self._session, self._ask = session, ask
        self._path = user_path(device)
        self._verify, self._discard, self.dry_run = verify, discard, dry_run
        self._arguments = read_arguments(session, places)
        self.amounts = Amounts(0)
        self.notes: list[str] = []
        self.image = ""
        self.record = LocalJob(
            id=new_job_id(), kind="restore", point="", machine="", item="", target=str(device),
            started=time.time_ns(), finished=0, bytes=0, files=0, warnings=[], warning_count=0,
            outcome=Outcome.FAILED,
        )  # fmt: skip

    def run(self, vault: Vault, machine: str | None, item: str | None, observer: Observer | None) -> None:
        """Restore, followed by `observer`. Raises UsageError, NotFound, LocalError, Damaged, StoreError."""
        from cache.reader import Reader

        reader = Reader(vault, memory=96 * MIB, page_memory=8 * MIB)
        noted = None
        try:
            (source,) = resolve(vault, reader, self._arguments, machine, item)
            found = image_in(reader, source)
            self._name(vault, source, found)
            with DeviceTarget(Path(self._path), write=not self.dry_run) as target:
                self._check(found, target, self._geometry(vault, reader, source, found))
                if not self.dry_run:
                    ran = Ran(
                        id=self.record.id, vault=self.record.vault, kind="restore", started=self.record.started
                    )
                    noted = begin(self._session.settings.where("state"), ran)
                self._hooked(reader, found, target, observer)
            self.record.outcome = Outcome.WITH_WARNINGS if self.problems else Outcome.COMPLETED
        except (KeyboardInterrupt, RpdriveError) as e:
            if was_stopped(e):
                self.record.outcome = Outcome.INTERRUPTED
            else:
                self.record.error = str(e).encode(errors="backslashreplace").decode()
            raise
        finally:
            reader.close()
            self._keep(noted)

    @property
    def problems(self) -> list[str]:
        """What is not as it was saved, in lines; the first 100 ranges."""
        ranges = [f"bytes {start} to {end - 1}: {why}" for start, end, why in self.amounts.bad]
        return ranges + [note for note in self.notes if note.startswith("unreadable")]

    def _name(self, vault: Vault, source: Source, found: Found) -> None:
        r, point = self.record, source.point
        r.vault, r.point, r.machine, r.item = vault.id.hex(), point.id.hex(), point.machine_name, point.item_name
        self.image = safe_text(found.entry.name.decode(errors="replace"))
        self.amounts.total = found.entry.size

    def _geometry(self, vault: Vault, reader: Reader, source: Source, found: Found) -> Geometry | None:
        """What the JSON file beside the image says; None if there is none that says anything."""
        folder = source.point.root.subtree() if source.point.root else None
        if source.place.found is not None and source.place.above:
            above = source.place.above[-1]
            folder = above.leaf.subtree(above.entry)
        beside = lookup(reader, folder, 1, found.entry.name.removesuffix(SUFFIX) + BESIDE)
        if beside is None or beside.entry.kind != NodeKind.FILE or beside.entry.size > MOST:
            return None
        content = beside.leaf.pieces(beside.entry)
        try:
            return decode(bytes(reader.open(content, beside.entry.size).read(0, MOST)))
        except Damaged:
            return None

    def _check(self, found: Found, target: DeviceTarget, geometry: Geometry | None) -> None:
        """Refuse what can't be right, and ask. Raises LocalError; UsageError if nobody says yes."""
        size, device = found.entry.size, target.device
        if device.size < size:
            raise LocalError(
                f"{device.path} is smaller than the image: {device.size:,} bytes, and it has {size:,}",
                "name a device of this size or a larger one",
            )
        if geometry is not None and geometry.table.kind and geometry.logical_sector != device.logical_sector:
            raise LocalError(
                f"{device.path} has sectors of {device.logical_sector} bytes, the image has partitions by sectors"
                f" of {geometry.logical_sector}: they would be elsewhere",
                "name a device with such sectors, or copy partitions from the opened image (docs/images.md)",
            )
        if geometry is not None and geometry.unreadable_bytes:
            self.notes.append(
                f"unreadable when it was saved: {geometry.unreadable_bytes:,} bytes of the image are zeros instead"
            )
        lines = target.contents()
        if device.size > size:
            self.notes.append(f"the last {size_text(device.size - size)} of {device.path} stay as they are")
        if self.dry_run:
            self.notes += ["there now: " + lines[0], *lines[1:]]
            return
        cost = Before(self._session).line("fetching all of it", Use(read=size / RANGE, received=size))
        if cost:
            lines.append(f"{cost}; less if it has holes, or compresses.")
        lines.append(f"All of this is overwritten with {self.image} of {size_text(size)}.")
        if not self._ask(lines):
            raise UsageError(f"nothing was written to {device.path}", "type yes, or use --yes")

    def _hooked(self, reader: Reader, found: Found, target: DeviceTarget, observer: Observer | None) -> None:
        content = found.leaf.pieces(found.entry)
        if isinstance(content, Paged):
            pieces = checked(reader, content)
        else:
            inline = list(positions(reader, content))
            pieces = lambda: iter(inline)  # noqa: E731
        writer = Writer(reader, pieces, target, self.amounts, discard=self._discard, dry=self.dry_run)
        if self.dry_run:
            with Reporting(self.amounts.progress, observer):
                writer.run()
            return
        r = self.record
        facts = job_facts(kind=r.kind, item=r.item, machine=r.machine, job=r.id, point=r.point, target=r.target)
        hooks = read_hooks(self._session.settings).of_items({r.item})
        around = Around(hooks, "", facts, self.notes.append)
        with around.job(Stage.BEFORE_RESTORE, Stage.AFTER_RESTORE):
            with Reporting(self.amounts.progress, observer):
                writer.run()
                if self._verify:
                    writer.verify()
            facts |= job_facts(outcome=Outcome.WITH_WARNINGS if self.amounts.bad_count else Outcome.COMPLETED)

    def _keep(self, noted: Ran | None) -> None:
        r = self.record
        r.finished, r.files = time.time_ns(), int(self.amounts.written > 0)
        r.bytes = self.amounts.written
        r.warnings, r.warning_count = self.problems[:100], self.amounts.bad_count
        if noted is None:
            return
        state = self._session.settings.where("state")
        end(
            state, noted, (line.encode() for line in self.problems), item_name=r.item, finished=r.finished,
            outcome=str(r.outcome), error=r.error, point=r.point, bytes=r.bytes, files=r.files,
            problem_count=r.warning_count,
        )  # fmt: skip
        try:
            LocalJobs(self._session.settings.state).add(r)
        except LocalError:
            pass  # the restore itself succeeded


def image_in(reader: Reader, source: Source) -> Found:
    """The image that an argument names: a file, or the only image of a point. Raises NotFound, UsageError."""
    place = source.place
    if place.found is not None and not place.is_folder:
        if place.found.entry.kind != NodeKind.FILE:
            raise UsageError(f"{source.text} is no file", "name an image")
        return place.found
    images = []
    if place.found is None:
        for page in leaves(reader, place.folder, 1):
            for entry, number in zip(page.leaf.entries, page.numbers(), strict=True):
                if entry.name.endswith(SUFFIX) and entry.kind == NodeKind.FILE:
                    images.append(Found(entry, page.leaf, number))
            if len(images) > 1:
                break
    if not images:
        raise NotFound(f"{source.text} has no image at its top", "name the image's path in the point: POINT:PATH")
    if len(images) > 1:
        raise UsageError(f"{source.text} has several images", "name one of them: POINT:PATH")
    return images[0]

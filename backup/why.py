"""Says whether a path would be saved, and which rule decides: `rpdrive backup PATH… --why PATH`."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple

from backup.choosing import contents, left_out, not_walked
from backup.exclusions import CACHE_TAG
from backup.request import Request, own_folders, resolved
from backup.selection import Selection
from backup.sources.choice import selection as selection_of
from backup.sources.system_state import FOLDER
from backup.systems.base import File, Folder, Stat, System
from backup.systems.this import this_system
from catalog.access.session import Session
from catalog.format.records import ItemKind
from catalog.patterns import Rule
from catalog.screen.output import for_stdout, print_json
from catalog.screen.text import text_json


class Answer(NamedTuple):
    """Whether a path is saved, why, and the rule that decides, if there is one."""

    path: bytes
    saved: bool
    reason: str
    rule: Rule | None = None

    def line(self) -> str:
        text = (b"/" + self.path).decode(errors="backslashreplace")
        return f"{text}: {'saved' if self.saved else 'not saved'}: {self.reason}"

    def json(self) -> dict[str, object]:
        rule = self.rule
        return {
            **text_json("path", b"/" + self.path),
            "saved": self.saved,
            "reason": self.reason,
            "rule": rule.text if rule else None,
            "source": rule.source if rule else None,
            "line": rule.line or None if rule else None,
        }


def explain(session: Session, request: Request, paths: list[Path], *, as_json: bool) -> None:
    """Print an answer for each path. Needs no vault. Raises what `selected` does."""
    system = this_system(fetch=request.fetch)
    selection = selection_of(request, system)
    selection.skip = own_folders(session, system)
    whole = [path.absolute() for path in paths]
    places = [resolved(path) if path.name in ("", "..") else resolved(path.parent) / path.name for path in whole]
    answers = [_answer(request, selection, system, system.point_path(place)) for place in places]
    if as_json:
        print_json([found.json() for found in answers])
        return
    clean = for_stdout()
    for found in answers:
        print(clean(found.line()))


def _answer(request: Request, selection: Selection, system: System[Folder, File, Stat], path: bytes) -> Answer:
    if request.kind == ItemKind.SYSTEM and (path + b"/").startswith(FOLDER + b"/"):
        return Answer(path.lstrip(b"/"), True, "made by the backup, from what it collects")
    return answer(selection, system, path)


def answer(selection: Selection, system: System[Folder, File, Stat], path: bytes) -> Answer:
    """Go the way to a path as a backup does."""
    way = _Way(selection, system, path)
    try:
        return way.go()
    finally:
        for handle in way.handles:
            system.close(handle)


class _Way(Generic[Folder, File, Stat]):
    """The way from the root folder to a path. `handles` are folders that are open."""

    def __init__(self, selection: Selection, system: System[Folder, File, Stat], path: bytes) -> None:
        self._selection, self._system = selection, system
        self._names = [name for name in path.split(b"/") if name]
        self.handles: list[Folder] = [system.open_top()]
        self._unwanted = system.unwanted_mounts()

    def go(self) -> Answer:
        selection, system = self._selection, self._system
        wanted, layer = selection.wanted(), selection.exclusions.top
        device = system.file_status(self.handles[0]).st_dev
        rule: Rule | None = None
        for depth, name in enumerate(self._names):
            handle, here = self.handles[-1], b"/".join(self._names[: depth + 1])
            is_last = depth + 1 == len(self._names)
            if wanted is not None and name not in wanted:
                return self._no("it is not below a path that was given")
            asked, wanted = wanted is not None, wanted[name] if wanted is not None else None
            if layer is not None and not asked:
                read = partial(contents, system, handle)
                layer = layer.within(read, partial(bytes, here.rpartition(b"/")[0]), lambda reason: None)
                if layer.is_cache(read) and name != CACHE_TAG:
                    return self._no(f"{_text(here.rpartition(b'/')[0])} is marked as a cache by a CACHEDIR.TAG")
            try:
                st = system.status(name, handle)
            except OSError as e:
                return self._no(f"{_text(here)} can't be read: {e.strerror}")
            reason = left_out(selection, layer, name, st)
            what = "" if is_last else f"{_text(here)} is "
            if isinstance(reason, Rule):
                return self._no(f"{what}left out by the rule {reason}", reason)
            if reason is not None:
                return self._no(reason if is_last else f"{_text(here)}: {reason}")
            if layer is not None:
                rule = layer.deciding(name, is_folder=stat.S_ISDIR(st.st_mode))
                layer = layer.below(name)
            if is_last:
                break
            if not stat.S_ISDIR(st.st_mode):
                return self._no(f"{_text(here)} is no folder")
            stays = wanted is None and not_walked(
                selection, self._unwanted, st, device, partial(bytes, here), asked=asked
            )
            if stays:
                return self._no(f"{_text(here)}: {stays}")
            device = st.st_dev
            try:
                self.handles.append(
                    (system.open_passage if wanted is not None else system.open_folder)(name, handle)
                )
            except OSError as e:
                return self._no(f"{_text(here)} can't be opened: {e.strerror}")
        reason = f"kept by the rule {rule}" if rule is not None else "no rule matches it"
        return Answer(b"/".join(self._names), True, reason, rule)

    def _no(self, reason: str, rule: Rule | None = None) -> Answer:
        return Answer(b"/".join(self._names), False, reason, rule)


def _text(path: bytes) -> str:
    return (b"/" + path).decode(errors="backslashreplace")

"""Runs `rpdrive find`, `rpdrive versions` and `rpdrive diff` on an open vault."""

from __future__ import annotations

import os
from collections.abc import Iterator

from catalog.direct import DirectSource
from catalog.errors import NotFound, UsageError
from catalog.history.difference import difference, exists, root_of
from catalog.history.listing import (
    HIT_COLUMNS,
    VERSION_COLUMNS,
    Counts,
    change_json,
    change_line,
    hit_json,
    hit_line,
    version_rows,
    versions_json,
)
from catalog.history.overlay import parts
from catalog.history.search import Hit, pattern, search
from catalog.history.timeline import Timeline, Timelines, all_timelines, one_point
from catalog.history.versions import versions
from catalog.points.choice import elsewhere, path_text
from catalog.points.listing import point_json
from catalog.points.opening import listed_points, open_point
from catalog.screen.output import for_stdout, print_json, print_rows, print_table, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted, text_json
from catalog.vault import Vault


def show_found(
    vault: Vault,
    text: str,
    point: str | None,
    machine: str | None,
    item: str | None,
    *,
    regex: bool,
    ignore_case: bool,
    newest: int | None,
    as_json: bool,
) -> None:
    """Print the paths that match a pattern, in one point, or, if `point` is None, in all or the `newest`."""
    fits = pattern(text, regex=regex, ignore_case=ignore_case)
    all_points = point is None
    lines = all_timelines(vault, machine, item, newest) if point is None else one_point(vault, point, machine, item)
    source = DirectSource(vault)

    def hits() -> Iterator[tuple[Timeline, Hit]]:
        """The paths that match. If none matches from its beginning, those of which the end does."""
        none = True
        for line in lines.found:
            for hit in search(source, line.points, fits):
                none = False
                yield line, hit
        end = text.lstrip("/")
        if none and not regex and end != text and "/" in end:
            at_the_end = pattern(end, ignore_case=ignore_case)
            for line in lines.found:
                for hit in search(source, line.points, at_the_end):
                    yield line, hit

    if as_json:
        head = {"pattern": text, "points": lines.point_count, **_older_json(lines, newest)}
        print_rows(head, "found", (hit_json(line, hit) for line, hit in hits()))
        raise_damaged(lines)
        return
    count, before, clean = 0, None, for_stdout()
    for line, hit in hits():
        if line is not before:
            _print_heading(lines, line.title)
            if not count and all_points:
                print(HIT_COLUMNS)
            before = line
        print(clean(hit_line(line, hit, all_points=all_points)))
        count += 1
    if not count:
        where = f"{lines.point_count:,} recovery points" if all_points else "that point"
        warn(f"nothing in {where} matches {text!r}")
    _tell_older(lines)
    raise_damaged(lines)


def show_versions(
    vault: Vault, path: str, machine: str | None, item: str | None, *, newest: int | None, as_json: bool
) -> None:
    """Print the contents that a path had over all points, or the `newest`.

    Raises NotFound if no point has it, and UsageError.
    """
    raw = os.fsencode(path)
    if not parts(raw):
        raise UsageError("every recovery point has a root", "name a file or folder below it")
    lines = all_timelines(vault, machine, item, newest)
    source = DirectSource(vault)
    found = [(line, versions(source, line.points, raw)) for line in lines.found]
    found = [(line, history) for line, history in found if history.found]
    if not found:
        _tell_older(lines)
        raise_damaged(lines)
        raise NotFound(
            f"none of {lines.point_count:,} recovery points has {path_text(raw)}",
            elsewhere(raw) or "`rpdrive find --all-points NAME` finds names",
        )
    if as_json:
        items = [versions_json(line, history) for line, history in found]
        print_json({**text_json("path", raw), **_older_json(lines, newest), "items": items})
    else:
        for line, history in found:
            _print_heading(lines, line.title)
            print_table(VERSION_COLUMNS, version_rows(line, history))
        _tell_older(lines)
    raise_damaged(lines)


def show_differences(
    vault: Vault,
    before: str,
    after: str,
    path: str,
    machine: str | None,
    item: str | None,
    *,
    content_only: bool,
    as_json: bool,
) -> None:
    """Print what differs between two points at a path and below. Raises NotFound if neither has the path."""
    points = listed_points(vault, machine, item)
    old, new = open_point(vault, points, before), open_point(vault, points, after)
    roots = root_of(old), root_of(new)
    source, raw, counts = DirectSource(vault), os.fsencode(path), Counts()
    if not exists(source, *roots, raw):
        raise NotFound(
            f"there is no {path_text(raw)} in either recovery point",
            elsewhere(raw) or "see `rpdrive ls` of its folder",
        )
    changes = (c for c in difference(source, *roots, raw) if c.mark != "U" or not content_only)
    if as_json:
        machines = vault.machines()
        head = {
            "before": point_json(old, machines),
            "after": point_json(new, machines),
            **text_json("path", raw or b"/"),
        }
        print_rows(head, "changes", (change_json(c) for c in counts.of(changes)), counts.json)
        return
    clean = for_stdout()
    for change in counts.of(changes):
        print(clean(change_line(change)))
    print(counts)


def _older_json(lines: Timelines, newest: int | None) -> dict[str, int]:
    return {} if newest is None else {"older": lines.older}


def _tell_older(lines: Timelines) -> None:
    if lines.older:
        warn(f"{counted(lines.older, 'older recovery point')} not looked at; --newest takes a larger number")


def _print_heading(lines: Timelines, title: str) -> None:
    if len(lines.found) > 1:
        say(f"{title}:")


def raise_damaged(lines: Timelines) -> None:
    """Raise the error of the first point that was left out, after the rest is printed. The others get a warning."""
    if lines.damaged:
        raise lines.damaged[0]

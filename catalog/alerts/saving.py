"""What a plan has a machine save, in few bytes, so that one that saves less than before is seen. Pure.

Plans are not signed. One that leaves everything out makes points at the right times, and nothing is late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

from catalog.plans.effective import Plan

_MOST = 256  # words of a plan; of a longer one there is one for all its patterns


def words_of(plan: Plan) -> list[str]:
    """What the plan saves and leaves out, a short digest each, with `+`, `-` or `!` before it."""
    found = sorted({sign + _digest(f"{name}:{value!r}") for sign, name, value in _parts(plan)})
    if len(found) <= _MOST:
        return found
    return ["*" + _digest("".join(found))]


def saves_less(plan: Plan, before: Collection[str]) -> bool:
    """Whether the plan saves less than one with these words, as far as a plan can say it."""
    words = set(words_of(plan))
    gone, new = set(before) - words, words - set(before)
    needed = "+*!" if plan.exclude else "+*"  # what `!` takes back is not left out anyway
    return any(word[:1] in needed for word in gone) or any(word[:1] == "-" for word in new)


def _parts(plan: Plan) -> Iterator[tuple[str, str, object]]:
    if plan.what:
        yield "+", "what", plan.what
    for path in plan.paths:
        yield "+", "path", path
    for pattern in plan.exclude:
        yield ("!" if pattern.startswith("!") else "-"), "exclude", pattern
    if plan.cloud_files:
        yield "+", "cloud files", True
    for name in ("ignore_files", "exclude_caches", "ignore_case", "one_file_system"):
        if value := getattr(plan, name):
            yield "-", name, value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()

"""Records of plans for property tests: everything that a level can say."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from catalog.format.plan import DAY, LAST_MONDAY, MONDAY, Care, Limit, Pause, PlanRecord, Schedule, Stop, Window

MINUTES, DAYS = st.integers(0, DAY - 1), st.lists(st.integers(1, 7), max_size=6, unique=True).map(sorted)
SCHEDULES = st.one_of(
    st.just(Schedule()),
    st.builds(
        Schedule,
        times=st.lists(MINUTES, min_size=1, max_size=24, unique=True).map(sorted),
        weekdays=DAYS,
    ),
    st.builds(
        Schedule,
        times=st.lists(MINUTES, min_size=1, max_size=3, unique=True).map(sorted),
        weekdays=DAYS,
        every_weeks=st.integers(2, 52),
        anchor=st.integers(0, (LAST_MONDAY - MONDAY) // 7).map(lambda n: MONDAY + 7 * n),
    ),
    st.builds(Schedule, every=st.integers(15, DAY), weekdays=DAYS),
)
SPANS = st.tuples(DAYS, MINUTES, st.integers(1, DAY)).filter(lambda span: span[1] != span[2])
WINDOWS = SPANS.map(lambda span: Window(weekdays=span[0], start=span[1], end=span[2]))
RATES = st.one_of(st.none(), st.just(0), st.integers(0, 10**12), st.integers(1, 900).map(lambda n: n << 20))
LIMITS = st.tuples(SPANS, RATES, RATES).map(
    lambda made: Limit(weekdays=made[0][0], start=made[0][1], end=made[0][2], up=made[1], down=made[2])
)
CARES = st.one_of(
    st.just(Care(every=0)),
    st.builds(
        Care,
        every=st.integers(1, 8_784),
        budget=st.integers(0, 10_080),
        percent=st.floats(0, 100, allow_subnormal=False).map(lambda p: p + 0.0),
    ),
)
PATHS = st.binary(max_size=30).map(lambda name: b"/" + name.replace(b"\0", b""))
# With a letter in front: no pattern of them is a comment, or malformed.
LETTERS = st.characters(codec="utf-8", exclude_characters="\0\n[\\")
PATTERNS = st.text(LETTERS, max_size=30).map(lambda text: "x" + text)
BOOLEANS = st.booleans()
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "zone": st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
    "paths": st.lists(PATHS, min_size=1, max_size=4, unique=True).map(sorted),
    "exclude": st.lists(PATTERNS, max_size=4),
    "ignore_files": st.sampled_from(["", ".rpdriveignore", "ü \\ \" '"]),
    "exclude_caches": BOOLEANS,
    "ignore_case": BOOLEANS,
    "one_file_system": BOOLEANS,
    "cloud_files": BOOLEANS,
    "what": st.sampled_from(["", "volume", "system state", "image"]),
    "snapshot": st.sampled_from(["auto", "always", "never"]),
    "schedule": SCHEDULES,
    "catch_up": BOOLEANS,
    "spread": st.integers(0, 720),
    "grace": st.integers(0, 86_400),
    "ac_power": BOOLEANS,
    "unmetered": BOOLEANS,
    "load": st.integers(0, 10_000),
    "windows": st.lists(WINDOWS, max_size=4),
    "at_most": st.integers(1, 366),
    "throttle": st.lists(LIMITS, max_size=4),
    "prune": CARES,
    "check_1": CARES,
    "check_2": CARES,
    "check_3": CARES,
    "restore_test": CARES,
}
NS = st.integers(0, 2**62)
PAUSES = st.tuples(NS, NS, st.text(st.characters(codec="utf-8"), max_size=9)).map(
    lambda made: Pause(since=made[0], until=made[0] + made[1] if made[1] % 2 else 0, reason=made[2])
)
STOPS = st.builds(Stop, since=NS, keep=BOOLEANS)


def records(level: bytes = bytes(16)) -> st.SearchStrategy[PlanRecord]:
    """Records of a level, with any of the fields."""
    states = {"paused": PAUSES, "stopped": STOPS}
    return st.fixed_dictionaries({}, optional=FIELDS | states).map(
        lambda fields: PlanRecord(id=level, number=1, written=0, **fields)
    )

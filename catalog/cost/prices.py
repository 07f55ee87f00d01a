"""Price tables: TOML files with a date and a source. rpdrive ships one, and a user's own row comes before its rows.

    date = 2026-03-01
    source = "the price list of …"
    currency = "EUR"
    gb = 1_073_741_824                     # bytes that the provider calls a GB

    [[price]]
    provider = "azure"
    region = "westeurope"
    redundancy = "LRS"
    tier = "hot"
    storage = 0.02                         # a GB and month; or steps, as below
    write = 0.05                           # 10,000 requests
    …

    [[transfer]]                           # what leaves the region
    provider = "azure"
    regions = ["westeurope"]
    price = [{ to = 100, price = 0 }, { to = 10_240, price = 0.087 }, { price = 0.083 }]    # a GB

    [[vault]]                              # where a vault is
    address = "azure://account/container"
    region = "westeurope"
    redundancy = "ZRS"
    tier = "cool"
    leaves = false                         # the machines are in the same region: nothing leaves it

Every value is checked and bounded, and a fault is an error that names the line and the key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from catalog.access.trusted import read_trusted
from catalog.errors import LocalError, UsageError
from catalog.screen.text import safe_text

FILE = "prices.toml"  # in the folder of settings, and the one shipped beside this module
FOLDER = "folder"  # the provider of a vault in a folder: it charges nothing
TIERS = ("hot", "cool", "cold")
_LONGEST = 1 << 20  # bytes of a file
_ROWS = 2_000
_ADVICE = "docs/cost.md has an example"
_FAULT = 200  # characters of a message

Amount = Annotated[float, Meta(ge=0, le=1e6)]  # of the currency
Word = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]*\Z")]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price up to so many GB a month; the last step has no end."""

    price: Amount
    to: Annotated[float, Meta(gt=0, le=1e12)] | None = None


Steps = Amount | Annotated[list[Step], Meta(min_length=1, max_length=20)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kind of storage costs. Of a GB: storage by the month, retrieval, replication. Requests: of 10,000.

    `minimum_days`: an object that is deleted sooner is paid for as long.
    """

    provider: Word
    region: Word = "any"
    redundancy: Word = "any"
    tier: Word = "any"
    storage: Steps = 0.0
    write: Amount = 0.0
    list: Amount = 0.0
    read: Amount = 0.0
    other: Amount = 0.0
    delete: Amount = 0.0
    retrieval: Amount = 0.0
    replication: Amount = 0.0
    minimum_days: Annotated[int, Meta(ge=0, le=3650)] = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.provider.lower(), self.region.lower(), self.redundancy.upper(), self.tier.lower()


class Transfer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a GB costs that leaves regions of a provider; no `regions` are all that no other row names."""

    provider: Word
    regions: Annotated[list[Word], Meta(max_length=200)] = []
    price: Steps


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the vault at an address is. `leaves`: what is read from it leaves the region, which may cost money."""

    address: Annotated[str, Meta(min_length=1, max_length=1_000)]
    region: Word = "any"
    redundancy: Word = "any"
    tier: Word = "any"
    leaves: bool = True


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    date: date
    source: Annotated[str, Meta(min_length=1, max_length=200)]
    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]
    gb: Annotated[int, Meta(ge=10**9, le=2**30)] = 2**30
    price: Annotated[list[Price], Meta(max_length=_ROWS)] = []
    transfer: Annotated[list[Transfer], Meta(max_length=_ROWS)] = []
    vault: Annotated[list[Place], Meta(max_length=_ROWS)] = []


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of one place: a row of a table, what leaves it, and where and when they were said."""

    price: Price
    transfer: list[Step]
    currency: str
    gb: int
    date: date
    source: str
    file: str

    @property
    def is_free(self) -> bool:
        """Whether nothing at all is charged."""
        p = self.price
        amounts = [p.write, p.list, p.read, p.other, p.delete, p.retrieval, p.replication]
        return not any(amounts) and not any(s.price for s in [*steps(p.storage), *self.transfer])

    @property
    def name(self) -> str:
        """The place in words: `azure westeurope LRS hot`."""
        p = self.price
        return " ".join(word for word in (p.provider, p.region, p.redundancy, p.tier) if word != "any")


class Table:
    """The rows of price files, those that come first before the others."""

    def __init__(self, files: Iterable[tuple[str, _File]]) -> None:
        self._files = list(files)

    def tariff(self, provider: str, region: str = "any", redundancy: str = "any", tier: str = "any") -> Tariff:
        """The prices of a place. Raises UsageError, which names what there is, if no row has it."""
        key = (provider.lower(), region.lower(), redundancy.upper() if redundancy != "any" else "ANY", tier.lower())
        for name, file in self._files:
            for row in file.price:
                if row.key == key or row.key == (key[0], "any", "ANY", "any"):
                    return Tariff(
                        price=row, transfer=self._leaving(key[0], key[1], file), currency=file.currency, gb=file.gb,
                        date=file.date, source=file.source, file=name,
                    )  # fmt: skip
        raise UsageError(f"no price is known for {' '.join(key)}", self._advice(key))

    def place(self, address: str) -> Place | None:
        """Where a vault is; None if no file says it."""
        return next((row for _name, file in self._files for row in file.vault if row.address == address), None)

    def regions(self, provider: str) -> list[str]:
        """The regions of a provider that have prices."""
        return sorted({row.region for _name, file in self._files for row in file.price if row.provider == provider})

    def _leaving(self, provider: str, region: str, own: _File) -> list[Step]:
        # Only of the same file: a price of another currency can't be added.
        rows = [row for row in own.transfer if row.provider.lower() == provider]
        for row in rows:
            if region in (name.lower() for name in row.regions):
                return steps(row.price)
        return next((steps(row.price) for row in rows if not row.regions), [])

    def _advice(self, key: tuple[str, str, str, str]) -> str:
        keys = [row.key for _name, file in self._files for row in file.price]
        for n, what in enumerate(("providers", "regions", "kinds of redundancy", "tiers")):
            known = sorted({row[n] for row in keys if row[:n] == key[:n]})
            if key[n] not in known:
                return f"known {what}: {', '.join(known)[:400]}; others can be added in {FILE} (docs/cost.md)"
        return _ADVICE


def steps(price: Steps) -> list[Step]:
    """A price as steps."""
    return price if isinstance(price, list) else [Step(price)]


def shipped() -> Table:
    """The table that comes with rpdrive."""
    path = Path(__file__).with_name(FILE)
    return Table([(FILE, parse(path.read_bytes(), path.name))])


def load(config: Path, given: Path | None = None) -> Table:
    """The table of this user: `given`, or else prices.toml in the folder of settings, before the shipped rows.

    Raises LocalError if a file can't be read or may be changed by other users, and UsageError if it is malformed.
    """
    path = given or config / FILE
    data = read_trusted(path, _LONGEST)
    if data is None:
        if given is not None:
            raise LocalError(f"the price table {given} does not exist", "check its path")
        return shipped()
    own = parse(data, str(path))
    built_in = Path(__file__).with_name(FILE)
    return Table([(str(path), own), (f"rpdrive's {FILE}", parse(built_in.read_bytes(), built_in.name))])


def parse(data: bytes, name: str) -> _File:
    """A price file. Raises UsageError, which names the line and the key of the first fault."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise _fault(name, f"it is not TOML: {e}") from None
    try:
        file = msgspec.convert(document, _File)
    except msgspec.ValidationError as e:
        what, _, path = str(e).partition(" - at `$")
        where = path.rstrip("`").lstrip(".")
        key = where or (re.search(r"`(\w+)`", what) or [""])[0].strip("`")
        line = _line(text, key)
        raise _fault(
            name, f"{f'line {line}: ' if line else ''}{where}{': ' if where else ''}{_lower(what)}"
        ) from None
    _check(file, text, name)
    return file


def _check(file: _File, text: str, name: str) -> None:
    keys: list[tuple[str, list[Any]]] = [
        ("price", [row.key for row in file.price]),
        ("transfer", [(row.provider.lower(), sorted(row.regions)) for row in file.transfer]),
        ("vault", [row.address for row in file.vault]),
    ]
    for table, found in keys:
        for n, key in enumerate(found):
            if key in found[:n]:
                raise _fault(name, f"{_at(text, f'{table}[{n}]')}{table}[{n}]: the same row is there twice")
    ladders = [("price", n, "storage", row.storage) for n, row in enumerate(file.price)]
    ladders += [("transfer", n, "price", row.price) for n, row in enumerate(file.transfer)]
    for table, n, field, price in ladders:
        fault = _fault_of(steps(price))
        if fault:
            where = f"{table}[{n}].{field}"
            raise _fault(name, f"{_at(text, where)}{where}: {fault}")


def _fault_of(ladder: list[Step]) -> str:
    ends = [step.to for step in ladder]
    if ends[-1] is not None or None in ends[:-1]:
        return "the last step, and no other, has no `to`"
    if any(a >= b for a, b in pairwise(ends) if a is not None and b is not None):
        return "the steps do not ascend"
    return ""


def _at(text: str, path: str) -> str:
    line = _line(text, path)
    return f"line {line}: " if line else ""


def _line(text: str, path: str) -> int:
    """The line (from 1) of a key like `price[3].write`; 0 if it isn't found."""
    parts = re.fullmatch(r"(\w+)(?:\[(\d+|\.\.\.)\])?(?:\.(\w+))?.*", path)
    if parts is None:
        return 0
    table, number, key = parts[1], parts[2], parts[3]
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{table}\s*\]\]", line)]
    if number is None:
        found = [n for n, line in enumerate(lines) if re.match(rf"\s*\"?{table}\"?\s*=", line)]
        return found[0] + 1 if found else 0
    if not number.isdecimal() or int(number) >= len(heads):
        return 0
    start = heads[int(number)]
    for n in range(start + 1, len(lines)):
        if lines[n].lstrip().startswith("["):
            break
        if key and re.match(rf"\s*\"?{key}\"?\s*=", lines[n]):
            return n + 1
    return start + 1


def _lower(what: str) -> str:
    return what[:1].lower() + what[1:]


def _fault(name: str, what: str) -> UsageError:
    return UsageError(f"the price table {name}: {safe_text(' '.join(what.split()))[:_FAULT]}", _ADVICE)

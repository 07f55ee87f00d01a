"""Price tables: what ships, whose row comes first, and how a fault in a file is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalog.cost.money import Bill, bill, early, storage
from catalog.cost.prices import FILE, TIERS, load, parse, shipped
from catalog.cost.use import Use, use_of
from catalog.errors import LocalError, UsageError
from catalog.store.metered import Count, Traffic

HEAD = 'date = 2026-01-02\nsource = "a bill"\ncurrency = "EUR"\n'
GIB = 2**30


def test_the_shipped_table_is_dated_has_all_kinds_and_prices_that_ascend_as_the_provider_has_them() -> None:
    table = shipped()
    assert table.tariff("folder").is_free
    assert len(table.regions("azure")) >= 4
    for region in table.regions("azure"):
        for redundancy in ("LRS", "ZRS", "GRS"):
            hot, cool, cold = (table.tariff("azure", region, redundancy, tier) for tier in TIERS)
            assert hot.date.year >= 2025 and hot.source and hot.currency == "USD" and not hot.is_free
            assert storage(hot, GIB).total > storage(cool, GIB).total > storage(cold, GIB).total
            assert hot.price.write < cool.price.write < cold.price.write
            assert hot.price.read < cool.price.read < cold.price.read
            assert (hot.price.minimum_days, cool.price.minimum_days, cold.price.minimum_days) == (0, 30, 90)
            assert (hot.price.replication > 0) == (redundancy == "GRS")


def test_money_of_counts() -> None:
    tariff = shipped().tariff("azure", "eastus", "LRS", "cool")
    use = Use(write=20_000, list=10_000, read=5_000, other=10_000, delete=99, sent=GIB, received=200 * GIB)
    found = bill(tariff, use, free=True)
    assert found == Bill(write=0.2, list=0.05, read=0.005, other=0.004, retrieval=2.0, transfer=found.transfer)
    assert found.transfer == pytest.approx(100 * 0.087), "100 GB of a month are free"
    assert bill(tariff, use).transfer == pytest.approx(200 * 0.087), "what is free may be used up"
    assert bill(tariff, use, leaves=False).transfer == 0
    assert bill(tariff, use + use * 2).total == pytest.approx(3 * bill(tariff, use).total)
    assert storage(tariff, 1000 * GIB).total == pytest.approx(15.2)
    assert early(tariff, GIB, 10).total == pytest.approx(0.0152 * 20 / 30.4375)
    assert early(tariff, GIB, 31).total == 0
    hot = shipped().tariff("azure", "eastus", "LRS", "hot")
    assert storage(hot, 60_000 * GIB).total == pytest.approx(51_200 * 0.0208 + 8_800 * 0.02), "by steps"
    replicated = shipped().tariff("azure", "eastus", "GRS", "hot")
    assert bill(replicated, Use(sent=10 * GIB)).replication == pytest.approx(0.2)


def test_each_kind_of_request_has_its_class() -> None:
    kinds = Traffic.__struct_fields__
    traffic = Traffic(**{kind: Count(10**n, 1) for n, kind in enumerate(kinds)})
    use = use_of(traffic)
    assert use.requests == traffic.requests, "each once"
    assert (use.sent, use.received) == (traffic.sent, traffic.received)
    assert use.list == traffic.list.requests and use.delete == traffic.delete.requests


def test_the_users_rows_come_first_and_a_given_file_before_them(tmp_path: Path) -> None:
    row = '[[price]]\nprovider = "azure"\nregion = "westeurope"\nredundancy = "LRS"\ntier = "hot"\nwrite = {}\n'
    assert load(tmp_path).tariff("azure", "westeurope", "LRS", "hot").currency == "USD"
    own = tmp_path / FILE
    own.write_text(HEAD + row.format(7))
    own.chmod(0o600)
    found = load(tmp_path).tariff("azure", "WestEurope", "lrs", "Hot")
    assert (found.price.write, found.currency, found.file, found.transfer) == (7, "EUR", str(own), [])
    assert load(tmp_path).tariff("azure", "eastus", "LRS", "hot").currency == "USD", (
        "what it lacks, the shipped has"
    )
    given = tmp_path / "other.toml"
    given.write_text(HEAD + row.format(8))
    given.chmod(0o600)
    assert load(tmp_path, given).tariff("azure", "westeurope", "LRS", "hot").price.write == 8
    own.chmod(0o666)
    with pytest.raises(LocalError, match="may be changed by other users"):
        load(tmp_path)
    with pytest.raises(LocalError, match="does not exist"):
        load(tmp_path, tmp_path / "none.toml")


def test_what_is_not_in_the_table_is_answered_with_what_is() -> None:
    with pytest.raises(UsageError) as e:
        shipped().tariff("azure", "mars", "LRS", "hot")
    assert "westeurope" in e.value.advice
    with pytest.raises(UsageError) as e:
        shipped().tariff("azure", "eastus", "LRS", "archive")
    assert "hot" in e.value.advice and "cold" in e.value.advice


PRICE = '[[price]]\nprovider = "a"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", r"not TOML.*"),
        ("a = 1\nb = = 2", r"not TOML.*line 2"),
        ('source = "x"', "missing required field `date`"),
        (HEAD + "foo = 1", "line 4: .*unknown field `foo`"),
        (HEAD.replace("EUR", "euro"), "line 3: currency"),
        (HEAD + "gb = 5", "line 4: gb: "),
        (HEAD + PRICE + "write = -1", r"line 6: price\[0\]\.write: "),
        (HEAD + PRICE + "\n" + PRICE + "# no\nread = 'x'", r"line 10: price\[1\]\.read: "),
        (HEAD + PRICE + "write = nan", r"line 6: price\[0\]\.write: "),
        (HEAD + PRICE + "write = inf", r"line 6: price\[0\]\.write: "),
        (HEAD + PRICE + "write = 1e9", r"line 6: price\[0\]\.write: "),
        (HEAD + PRICE + "rite = 1", r"line 4: price\[0\]: .*unknown field `rite`"),
        (HEAD + PRICE + "storage = [{ price = nan }]", r"line 6: price\[0\]\.storage"),
        (HEAD + PRICE + "storage = [{ to = nan, price = 1 }, { price = 1 }]", r"line 6: price\[0\]\.storage"),
        (HEAD + PRICE + "storage = [{ to = 9, price = 1 }]", r"line 6: price\[0\]\.storage: the last step"),
        (HEAD + PRICE + "storage = [{ to = 9, price = 1 }, { to = 9, price = 1 }, { price = 1 }]", "do not ascend"),
        (HEAD + PRICE + PRICE, r"line 6: price\[1\]: the same row"),
        (HEAD + '[[price]]\nprovider = "a b\x1b[2J"', ""),
        (HEAD + "price = " + "[" * 5000, ""),
        (HEAD + PRICE * 2_001, "price: "),
    ],
)  # fmt: skip
def test_a_malformed_file_is_one_line_that_says_where(text: str, said: str) -> None:
    with pytest.raises(UsageError) as e:
        parse(text.encode(), "p.toml")
    line = str(e.value)
    assert re.search(said, line), line
    assert line.isprintable() and len(line) < 260 and "p.toml" in line

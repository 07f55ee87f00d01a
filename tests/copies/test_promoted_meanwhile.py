"""A copy that somebody promotes while it is brought up to date: nothing more is written there, or deleted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from catalog.errors import VaultExists
from catalog.format.vaultfile import VaultFile
from tests.kit.copying import Meanwhile, Pair
from tests.kit.pruning import random_edits


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def promote(pair: Pair) -> None:
    """Somebody promotes the copy."""

    def promoted(file: VaultFile) -> VaultFile:
        assert file.copy is not None
        return file.changed(copy=msgspec.structs.replace(file.copy, promoted=pair.world.now // 10**9))

    pair.opened().change_file(promoted)


def test_a_copy_that_is_promoted_while_it_is_copied(pair: Pair) -> None:
    """It is a vault now: a point of the other one would have the number of one of its own."""
    random_edits(pair.world, 2)
    pair.copy()
    pair.world.backup(3)
    before = [name for name in pair.memory.objects if name.startswith("points/")]
    with pytest.raises(VaultExists, match="promoted meanwhile"):
        pair.copy(Meanwhile(pair.world, "n", lambda: promote(pair)))
    assert [name for name in pair.memory.objects if name.startswith("points/")] == before


def test_a_copy_that_is_promoted_while_it_lets_go(pair: Pair) -> None:
    """Its next backups may refer to blocks that no point of before needs: nothing goes any more."""
    names = random_edits(pair.world, 6)
    pair.copy()
    pair.world.forget(*names[:4])
    for _week in range(3):
        pair.copy()
        pair.world.later(7.1)
        pair.world.prune(yes=True)
    dry = pair.copy(dry=True)
    assert dry.gone is not None and dry.gone.by_kind
    before = set(pair.memory.objects)
    with pytest.raises(VaultExists, match="promoted meanwhile"):
        pair.copy(Meanwhile(pair.world, "n", lambda: promote(pair)))
    assert before <= set(pair.memory.objects)

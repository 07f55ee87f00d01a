"""One page for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browse.front.vault import Shown, shown


@pytest.fixture(scope="package")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with shown(tmp_path_factory.mktemp("front")) as found:
        yield found

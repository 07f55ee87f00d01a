"""What the tests of archives share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browse.have.trees import Tree


@pytest.fixture(scope="module")
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.close()

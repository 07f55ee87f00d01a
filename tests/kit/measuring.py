"""Branch coverage of the processes that tests start (`make test` measures them too).

A measured process imports coverage before anything else, writes a file when it ends, and knows nothing of an end by
SIGKILL. A test that asserts what its processes import, print when interrupted, or may write is marked `unmeasured`.
"""

from __future__ import annotations

from collections.abc import Mapping

VARIABLE = "COVERAGE_PROCESS_CONFIG"  # what makes a Python process measure itself (coverage, patch = subprocess)


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that isn't to be measured."""
    return {name: value for name, value in environment.items() if name != VARIABLE}

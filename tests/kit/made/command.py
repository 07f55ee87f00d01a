"""Runs a command on a made-up vault and writes what it took: `python -m tests.kit.made.command OUT.json …`.

The vault is that of RPDRIVE_VAULT or --vault: its address is `made:///FOLDER`. Any other vault will do, too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from catalog.store import address, stack
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request
from tests.kit.made.store import MadeScheme
from tests.kit.peak import peak
from tests.kit.vaults import home_of

ROOT = Path(__file__).parents[3]
MOST = "RPDRIVE_MADE_MOST"  # MiB of addresses that a command may use


class Took(msgspec.Struct):
    """What a process took. `requests` counts by kind and folder, e.g. `list points`; `carried` are objects' bytes.

    `cpu` (s) is without what making the vault up took, `memory` (MiB) the peak of the process with it.
    """

    requests: dict[str, int]
    carried: int
    cpu: float
    seconds: float
    memory: int
    making: float
    exit_code: int = 0

    @property
    def total(self) -> int:
        return sum(self.requests.values())


class Counting(MeteredStore):
    """A meter that also counts by kind and folder, for all stores of the process."""

    counts: ClassVar[Counter[str]] = Counter()
    carried = 0
    _guard = threading.Lock()

    def _note(self, request: Request, sent: int, carried: int) -> None:
        super()._note(request, sent, carried)
        with self._guard:
            Counting.counts[f"{request.kind} {request.name.partition('/')[0]}"] += sent
            Counting.carried += carried


class Watch:
    """Measures this process from now on."""

    def __init__(self, scheme: MadeScheme) -> None:
        self._scheme, self._began, self._cpu = scheme, time.monotonic(), _cpu()
        self._making = self._made()
        self._counts, self._carried = Counter(Counting.counts), Counting.carried

    def _made(self) -> float:
        return sum(store.spent for store in self._scheme.opened)

    def took(self, exit_code: int = 0) -> Took:
        making = self._made() - self._making
        counts = Counting.counts - self._counts
        return Took(
            dict(sorted(counts.items())), Counting.carried - self._carried, round(_cpu() - self._cpu - making, 3),
            round(time.monotonic() - self._began, 3), peak() >> 10, round(making, 3), exit_code,
        )  # fmt: skip


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def prepared() -> MadeScheme:
    """Let this process know made-up vaults, and count all requests."""
    scheme = MadeScheme()
    address.register(scheme)
    stack.MeteredStore = Counting  # type: ignore[attr-defined]
    return scheme


def limit_memory() -> None:
    """Keep this process from taking more than it may, if MOST says how many MiB that are."""
    most = int(os.environ.get(MOST, "0")) << 20
    if most:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def run(
    folder: Path,
    vault: str,
    *words: str,
    exit_code: int | None = 0,
    timeout: float | None = None,
    **environment: str,
) -> tuple[Took, str]:
    """Run a command in a process of its own, for a user whose home is `folder`. Returns also what it printed.

    Raises RuntimeError for another `exit_code`, and subprocess.TimeoutExpired.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "took.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.made.command", str(out), *words],
        env=os.environ | home_of(folder, vault) | environment,
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
    if exit_code is not None and done.returncode != exit_code:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return msgspec.json.decode(out.read_bytes(), type=Took), done.stdout


def main() -> None:
    out = Path(sys.argv.pop(1))
    limit_memory()
    scheme = prepared()
    import rpdrive

    watch = Watch(scheme)
    sys.argv[0] = "rpdrive"
    code: Any = 0
    try:
        rpdrive.main()
    except SystemExit as e:
        code = e.code or 0
    finally:
        row = watch.took(code if isinstance(code, int) else 1)
        out.write_text(json.dumps(msgspec.to_builtins(row), indent=2) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()

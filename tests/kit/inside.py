"""The command `rpdrive` inside the test's own process: as `Cli`, without the half second that a start takes."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import rpdrive
from tests.kit.cli import Cli


class Inside(Cli):
    """Runs commands as `Cli` does, one at a time. What starts children of its own is better run by `Cli`."""

    def run(
        self, *args: str | Path | bytes, env: Mapping[str, str | None] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        assert not options
        environ = {k: v for k, v in {**self.environ, **(env or {})}.items() if v is not None}
        words = [os.fsdecode(arg) for arg in args]
        with mock.patch.dict(os.environ, environ, clear=True), _streams(words) as (out, err):
            code = rpdrive.run(words)
        return subprocess.CompletedProcess(words, code, _bytes(out), _bytes(err))


@contextlib.contextmanager
def _streams(words: list[str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["rpdrive", *words]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield out, err


def _bytes(stream: io.StringIO) -> bytes:
    return stream.getvalue().encode(errors="surrogateescape")

"""Keeps secrets out of what a person or a log gets to read.

Exceptions of libraries quote what they were given: a URL with its SAS token, a header, a connection string. They
are the causes of our own errors, and go to stderr with --verbose, to the log of a drive and into error logs; from
there into journals, mails and bug reports. So everything on these ways goes through `redacted`.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

HIDDEN = "…"
_VALUE = r"""[^&;,\s"'<>()\\]+"""
_SECRETS = (  # compiled when a text is shown: most commands show none
    # A SAS: its signature alone makes it valid. In a URL within a URL, = is %3D.
    rf"(?P<name>(?<![a-z_])(?:sig|AccountKey|SharedAccessSignature|client_secret|password|passphrase)(?:=|%3D))"
    rf"{_VALUE}"
    # Headers.
    rf"|(?P<scheme>\b(?:Bearer|SharedKey(?:Lite)?) +)[^\s\"']{{16,}}"
)


def redacted(text: str) -> str:
    """The text without the secrets that it may quote."""
    return re.sub(_SECRETS, lambda found: (found["name"] or found["scheme"]) + HIDDEN, text, flags=re.IGNORECASE)


class RedactedStream(io.TextIOWrapper):
    """A text stream that no secret gets through. It takes the place of `before`, and shares its buffer."""

    def __init__(self, before: io.TextIOWrapper) -> None:
        super().__init__(before.buffer, before.encoding, errors="backslashreplace", line_buffering=True)
        self._before = before  # if it went, it would close the buffer

    def write(self, text: str, /) -> int:
        super().write(redacted(text))
        return len(text)


def log_to_stderr(form: str, level: int) -> None:
    """Have messages of all loggers printed on stderr, with their tracebacks, without secrets."""
    import logging

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return redacted(super().format(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(form))
    logging.basicConfig(level=level, handlers=[handler])


def protect_stderr() -> None:
    """Keep secrets out of everything that this process writes to stderr: logs and tracebacks, too."""
    stderr: Any = sys.stderr
    if isinstance(stderr, io.TextIOWrapper) and not isinstance(stderr, RedactedStream):
        stderr.flush()
        sys.stderr = RedactedStream(stderr)

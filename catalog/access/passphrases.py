"""Sources of passphrases: a file, the environment, or a person at a terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from catalog.errors import LocalError, Locked, RpdriveError, UsageError
from catalog.program import ADMIN_PASSPHRASE, PASSPHRASE
from catalog.systems.this import SYSTEM

if TYPE_CHECKING:
    from catalog.format.keys import Keys
    from catalog.format.vaultfile import VaultFile

# Shows a prompt and returns the answer; None if there is no terminal, or no answer.
Ask: TypeAlias = Callable[[str], "str | None"]


class Passphrases(Protocol):
    """A session's source of passphrases.

    Each method raises Locked if there is no passphrase, UsageError if it is malformed, and LocalError if it can't
    be read.
    """

    def existing(self, address: str) -> str:
        """The passphrase of the vault at an address."""
        ...

    def new(self, prompt: str) -> str:
        """A passphrase to set. A person sees `prompt`; a short answer raises WeakPassphrase at once."""
        ...


def ask_on_terminal(prompt: str) -> str | None:
    """Read a hidden line from the terminal. None if there is no terminal, or the line is empty."""
    import getpass

    if not SYSTEM.has_terminal():
        return None
    try:
        return getpass.getpass(f"{prompt}: ", sys.stderr) or None
    except EOFError:
        return None


def confirm_on_terminal(question: str) -> bool | None:
    """Ask a person for yes or no; no is the default. None if nobody can answer."""
    if not sys.stdin.isatty():
        return None
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_ADMIN_LOCKED = (
    f"set {ADMIN_PASSPHRASE}, use --admin-passphrase-file, or run `rpdrive vault admin unlock --save` once"
)


class GivenPassphrases:
    """Passphrases from a file, an environment variable or a person: the first of these that exists.

    They are those of vaults or, with `admin`, of the keys that sign records.
    """

    def __init__(
        self,
        file: Path | None = None,
        variable: str = PASSPHRASE,
        *,
        environ: Mapping[str, str] = os.environ,
        ask: Ask = ask_on_terminal,
        admin: bool = False,
    ) -> None:
        self._of, self._locked = ("the admin key of ", _ADMIN_LOCKED) if admin else ("", Locked.advice)
        self.file = file
        self._variable = variable
        self._environ = environ
        self._ask = ask

    def existing(self, address: str) -> str:
        given = self._given()
        if given is not None:
            return given
        what = self._of or "the vault "
        return self._asked(f"Passphrase of {self._of}{address}", Locked(f"{what}{address} is locked", self._locked))

    def new(self, prompt: str) -> str:
        given = self._given()
        if given is not None:
            return given
        missing = Locked(
            "there is no terminal to ask for the new passphrase", f"set {self._variable}, or give it in a file"
        )
        first = self._asked(prompt, missing)
        from catalog.format.slots import check_passphrase

        check_passphrase(first)
        if self._asked("The same passphrase again", missing) != first:
            raise UsageError("the two passphrases differ", "try again")
        return first

    def _given(self) -> str | None:
        if self.file is not None:
            return _read(self.file)
        text = self._environ.get(self._variable)
        return _checked(text, self._variable) if text else None

    def _asked(self, prompt: str, otherwise: Locked) -> str:
        text = self._ask(prompt)
        if text is None:
            raise otherwise
        return _checked(text, "the terminal")


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as e:
        raise LocalError(
            f"the passphrase file {file} can't be read: {e.strerror}", "check its path and permissions"
        ) from e
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UsageError(f"the passphrase file {file} is not UTF-8 text", "save it as UTF-8") from e
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError(f"the passphrase file {file} is empty", "write the passphrase into it")
    return _checked(text, str(file))


def _checked(text: str, source: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise UsageError(f"the passphrase from {source} is not UTF-8 text", "give it in UTF-8") from e
    return text


def unlock(file: VaultFile, passphrase: str, meanwhile: Callable[[], object] | None) -> Keys:
    """The keys of a vault. `meanwhile` runs while they are derived. Raises WrongPassphrase or Damaged."""
    if meanwhile is None:
        return file.unlock(passphrase)
    result: list[Keys | BaseException] = []

    def derive() -> None:
        try:
            result.append(file.unlock(passphrase))
        except BaseException as e:  # noqa: BLE001 - raised again in the caller's thread
            result.append(e)

    thread = threading.Thread(target=derive, name="unlock")
    thread.start()
    try:
        meanwhile()
    except RpdriveError:
        pass  # it only prepares something: the error occurs again when that is used
    finally:
        thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]

"""The environment variables of this program, how it starts itself again (as a child, unit or task), loads parts.

A started process finds our packages wherever they are, installed or in a checkout, and never imports from the
folder that happens to be the current one (`-P`). It gets no secret through its environment.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from catalog.errors import UsageError

HOME = "RPDRIVE_HOME"
VAULT = "RPDRIVE_VAULT"
SNAPSHOT = "RPDRIVE_SNAPSHOT"
STAGING = "RPDRIVE_STAGING"
COST_ABOVE = "RPDRIVE_COST_ABOVE"
PASSPHRASE = "RPDRIVE_PASSPHRASE"
NEW_PASSPHRASE = "RPDRIVE_NEW_PASSPHRASE"
ADMIN_PASSPHRASE = "RPDRIVE_ADMIN_PASSPHRASE"
NEW_ADMIN_PASSPHRASE = "RPDRIVE_NEW_ADMIN_PASSPHRASE"
# Not passed on to processes that rpdrive starts: they get keys in another way, and may run for weeks.
SECRETS = (PASSPHRASE, NEW_PASSPHRASE, ADMIN_PASSPHRASE, NEW_ADMIN_PASSPHRASE)
# Variables of stores and of other programs, e.g. AZURE_STORAGE_KEY; and AZURE_STORAGE_KEY__ACCOUNT.
_SECRET = r"(?i).*(?:KEY|TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIALS?|CONNECTION_STRING)(?:_[0-9]+|__[0-9a-z]+)?"

_FOLDER = Path(__file__).parents[1]  # holds our packages and rpdrive.py
_CODE = "import sys; sys.path.append({folder!r}); from {module} import main; main({arguments})"
_SET = "import os; os.environ.update({variables!r}); "


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path as a person writes it: `~` and `~NAME` are home folders. Raises UsageError if there is no such one."""
    try:
        return Path(text).expanduser()
    except RuntimeError as e:
        raise UsageError(
            f"the home folder in {os.fspath(text)} is not known", "write the whole path, or set HOME"
        ) from e


def main_command(module: str, *arguments: int, variables: Mapping[str, str] | None = None) -> list[str]:
    """The command line of a Python that calls `main(*arguments)` of one of our modules.

    `variables` are set in its environment first, for a starter that can't set any. Words appended to the command
    line are its sys.argv[1:].
    """
    code = _CODE.format(folder=str(_FOLDER), module=module, arguments=", ".join(map(str, arguments)))
    return [sys.executable, "-P", "-c", (_SET.format(variables=dict(variables)) if variables else "") + code]


def rpdrive_command() -> list[str]:
    """The command line of `rpdrive`, for an environment that has the variables of `lasting_environment`."""
    return [sys.executable, "-P", "-m", "rpdrive"]


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This environment for a child in any current folder: without secrets, RPDRIVE_HOME as an absolute path.

    Everybody with the rights of the child's user can read its environment as long as it runs.
    """
    return _absolute({name: value for name, value in environ.items() if not re.fullmatch(_SECRET, name)})


def secret_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that `child_environment` leaves out and a child may need: the credentials of stores."""
    return {name: value for name, value in environ.items() if re.fullmatch(_SECRET, name) and name not in SECRETS}


def lasting_environment(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The named variables that are set, and PYTHONPATH if `-m rpdrive` needs it to find this program."""
    found = named_variables(names, environ)
    if _FOLDER.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = str(_FOLDER)
    return found


def named_variables(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The named variables that are set, RPDRIVE_HOME as an absolute path."""
    return _absolute({name: environ[name] for name in names if environ.get(name)})


def _absolute(environment: dict[str, str]) -> dict[str, str]:
    if environment.get(HOME):
        environment[HOME] = str(user_path(environment[HOME]).absolute())
    return environment


def later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is called."""

    def call(*given: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*given)

    return call

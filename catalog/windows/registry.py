"""Reads the registry of Windows: a few values, and no more of one than is sensible."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

_MOST = 10_000  # values or subkeys of a key


class Registry(Protocol):
    """HKEY_LOCAL_MACHINE. What is not there, or can't be read, is empty."""

    def values(self, key: str) -> dict[str, object]:
        """The values of a key by their names: str, int, bytes, or lists of str."""

    def keys(self, key: str) -> list[str]:
        """The names of a key's subkeys."""


class WindowsRegistry:
    """The registry of this machine."""

    def values(self, key: str) -> dict[str, object]:
        """See Registry."""
        found: dict[str, object] = {}
        with suppress(ImportError, OSError):
            winreg: Any = import_module("winreg")
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                for n in range(min(winreg.QueryInfoKey(opened)[1], _MOST)):
                    name, value, _kind = winreg.EnumValue(opened, n)
                    found[name] = value
        return found

    def keys(self, key: str) -> list[str]:
        """See Registry."""
        found: list[str] = []
        with suppress(ImportError, OSError):
            winreg: Any = import_module("winreg")
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                found += [winreg.EnumKey(opened, n) for n in range(min(winreg.QueryInfoKey(opened)[0], _MOST))]
        return found

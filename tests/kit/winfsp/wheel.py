"""Make winfspy importable here: its own Python, from the wheel that tests/setup.sh unpacks, over the stand-in."""

from __future__ import annotations

import importlib
import sys
import types
from contextlib import contextmanager
from typing import Any

from tests.kit.needs import INSTALL, WINFSPY, has_winfspy
from tests.kit.winfsp import standin


def load() -> types.ModuleType:
    """The module winfspy; the second call gives the same."""
    if "winfspy" in sys.modules:
        return sys.modules["winfspy"]
    if not has_winfspy():
        raise RuntimeError(f"winfspy is not unpacked in .tools: {INSTALL}")
    sys.path.append(str(WINFSPY))
    bindings = types.ModuleType("winfspy.plumbing.bindings")
    vars(bindings).update(ffi=standin.ffi, lib=standin.lib, enable_debug_log=lambda: None)
    sys.modules[bindings.__name__] = bindings
    # Only while it is imported: others (mimetypes) take winreg's presence for Windows.
    before = sys.modules.get("winreg")
    sys.modules["winreg"] = _winreg()
    try:
        winfspy = importlib.import_module("winfspy")
    finally:
        del sys.modules["winreg"]
        if before is not None:
            sys.modules["winreg"] = before
    file_system: Any = importlib.import_module("winfspy.file_system")
    file_system.os = types.SimpleNamespace(stat=standin.stat)
    return winfspy


def _winreg() -> types.ModuleType:
    @contextmanager
    def open_key(_root: object, name: str, _reserved: int, _access: int) -> Any:
        yield name

    module = types.ModuleType("winreg")
    vars(module).update(
        HKEY_LOCAL_MACHINE="HKLM",
        KEY_READ=0x20019,
        KEY_WOW64_32KEY=0x200,
        OpenKey=open_key,
        QueryValueEx=lambda _key, _value: (str(WINFSPY), 1),
    )
    return module

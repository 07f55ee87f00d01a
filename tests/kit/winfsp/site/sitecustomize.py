"""Python imports this by itself where tests put its folder on PYTHONPATH: there the driver `winfsp` works.

Commands and the drives in the background are processes of their own; each gets the stand-in for WinFsp, and a drive
that mounts the bridge.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = str(Path(__file__).parents[4])


class _Changed(Loader):
    """Runs a module as it is, with what it needs before, and what is changed in it after."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.path.append(_ROOT)
        from tests.kit.winfsp.wheel import load

        load()
        self._loader.exec_module(module)
        from tests.kit.winfsp.bridged import bridged

        vars(module)["Drive"] = bridged(vars(module)["Drive"])


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "mount.drivers.winfsp.drive":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        return importlib.util.spec_from_file_location(name, spec.origin, loader=_Changed(spec.loader))


sys.meta_path.insert(0, _Finder())

"""Vaults in a folder: file:///PATH, or the path alone."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from catalog.errors import UsageError
from catalog.store.base import Store
from catalog.store.scheme import Scheme


class FolderScheme(Scheme):
    """Folders on disks of this machine or mounted ones. They have no tokens, and no request is repeated."""

    name = "file"
    forms = ("file:///PATH", "/PATH")
    patience = 0.0

    def accepts(self, url: str) -> bool:
        return self._path(url) is not None

    def open(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        from catalog.store.local import LocalStore

        return LocalStore(self.folder(url), url)

    def normal(self, url: str) -> str:
        return Path(os.path.normpath(self.folder(url))).as_uri()

    def folder(self, url: str) -> str:
        path = self._path(url)
        if path is None:
            raise UsageError(f"{url!r} is not the address of a folder", f"use one of {' or '.join(self.forms)}")
        return path

    def _path(self, url: str) -> str | None:
        if not url.startswith("file://"):
            return url if os.path.isabs(url) else None
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            return None
        # Not parts.path: a folder's name may hold ? and #.
        return unquote(url.removeprefix("file://").removeprefix("localhost"), errors="surrogateescape")

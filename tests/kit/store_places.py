"""The stores that the contract is tested on, and access to their contents that bypasses them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from catalog.store.azure.store import AzureStore
from catalog.store.base import Store
from catalog.store.delayed import DelayedStore
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.retrying import RetryingStore
from catalog.store.roles import Grant, Role, RoleStore
from tests.kit.faults import FailOnceStore


class Place(ABC):
    """A store, and access to its contents that bypasses it."""

    store: Store

    @abstractmethod
    def put(self, name: str, data: bytes) -> None: ...
    @abstractmethod
    def held(self, name: str) -> bytes | None: ...
    @abstractmethod
    def remove(self, name: str) -> None: ...


class InMemory(Place):
    def __init__(self) -> None:
        self.store: MemoryStore = MemoryStore()

    def put(self, name: str, data: bytes) -> None:
        self.store.objects[name] = data

    def held(self, name: str) -> bytes | None:
        return self.store.objects.get(name)

    def remove(self, name: str) -> None:
        del self.store.objects[name]


class Wrapped(Place):
    """A store in memory behind every wrapper that there is."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        later = time.time_ns() + 10**15
        store: Store = DelayedStore(MeteredStore(FailOnceStore(self.memory, ["read"], "no such object")), 0.0)
        store = RetryingStore(store, 0.2, pause=lambda _: None)
        self.store = RoleStore(store, Grant(Role.ADMIN, later), lambda: None)

    def put(self, name: str, data: bytes) -> None:
        self.memory.objects[name] = data

    def held(self, name: str) -> bytes | None:
        return self.memory.objects.get(name)

    def remove(self, name: str) -> None:
        del self.memory.objects[name]


class InFolder(Place):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder)

    def put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name} new")
        fresh.write_bytes(data)
        fresh.replace(path)

    def held(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class InAzure(Place):
    def __init__(self, store: AzureStore, around: ContainerClient, prefix: str) -> None:
        self.store = store
        self.around = around
        self.prefix = prefix

    def put(self, name: str, data: bytes) -> None:
        self.around.upload_blob(f"{self.prefix}/{name}", data, overwrite=True)

    def held(self, name: str) -> bytes | None:
        try:
            return self.around.download_blob(f"{self.prefix}/{name}").readall()
        except ResourceNotFoundError:
            return None

    def remove(self, name: str) -> None:
        self.around.delete_blob(f"{self.prefix}/{name}")

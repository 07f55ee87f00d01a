"""The stores that the contract is tested on.

Set RPDRIVE_TEST_AZURE_URL (and credentials, docs/azure.md) to run it on a real account too: it works below
a new prefix there and removes what it made.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from catalog.store.azure.credentials import container_client
from catalog.store.azure.scheme import azure_address
from catalog.store.azure.store import AzureStore
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.store_places import InAzure, InFolder, InMemory, Place, Wrapped

REAL = "RPDRIVE_TEST_AZURE_URL"
AZURITE = pytest.param("azurite", marks=pytest.mark.needs_azurite)
KINDS = ["memory", "wrapped", "local", AZURITE, *(["account"] if os.environ.get(REAL) else [])]


@pytest.fixture(scope="session")
def azurite_container(request: pytest.FixtureRequest) -> ContainerClient:
    azurite: Azurite = request.getfixturevalue("azurite")
    return azurite.container("contract")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        yield InMemory()
    elif request.param == "wrapped":
        yield Wrapped()
    elif request.param == "local":
        folder = InFolder(tmp_path / "vault")
        yield folder
        folder.store.close()
    elif request.param == "azurite":
        around = request.getfixturevalue("azurite_container")
        prefix = secrets.token_hex(6)
        environ = request.getfixturevalue("azurite").environ
        store = AzureStore(ACCOUNT, around.container_name, prefix, environ=environ)
        yield InAzure(store, around, prefix)
        store.close()
    else:
        account, container, prefix = azure_address(os.environ[REAL])
        prefix = f"{prefix}/test-{secrets.token_hex(6)}".lstrip("/")
        store = AzureStore(account, container, prefix)
        around = container_client(account, container, os.environ)
        yield InAzure(store, around, prefix)
        for name in around.list_blob_names(name_starts_with=f"{prefix}/"):
            around.delete_blob(name)
        store.close()

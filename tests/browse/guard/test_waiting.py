"""Requests that wait for a store which does not answer leave the page usable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from catalog.store.wrapper import Request, StoreWrapper
from catalog.vault import open_vault
from mount.browse.api.context import WAITING
from tests.browse.find.vaults import made
from tests.kit.browsing import opened_as, page_of
from tests.kit.vaults import PASSPHRASE

T = TypeVar("T")


class SilentStore(StoreWrapper):
    """Gives no answer until `answers` is set. `waiting` is released by each request that waits."""

    def __init__(self, inner: StoreWrapper) -> None:
        super().__init__(inner)
        self.answers, self.waiting = threading.Event(), threading.Semaphore(0)
        self.answers.set()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if not self.answers.is_set():
            self.waiting.release()
            assert self.answers.wait(60)
        return call()


def test_a_page_answers_while_every_thread_for_the_store_waits(tmp_path: Path) -> None:
    vault = made()
    store = SilentStore(vault.remote.meter)
    with page_of(opened_as(tmp_path, open_vault(store, passphrase=PASSPHRASE))) as page:
        page.enter()
        found: list[int] = []
        store.answers.clear()

        def ask(n: int) -> None:
            found.append(page.api("GET", f"/points/{n:032x}").status)

        asking = [threading.Thread(target=ask, args=(n,)) for n in range(WAITING + 10)]
        for one in asking:
            one.start()
        try:
            assert all(store.waiting.acquire(timeout=30) for _ in range(WAITING))
            for path in ("/session", "/searches", "/downloads", "/restores", "/openapi.json"):
                assert page.api("GET", path).status == 200, path
            assert page.request("GET", "/").status == 200
            assert page.post("/session/link")["seconds"] > 0
            assert not found
        finally:
            store.answers.set()
        for one in asking:
            one.join()
        assert found == [404] * len(asking)

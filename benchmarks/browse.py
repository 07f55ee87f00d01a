"""The page of `rpdrive browse`: how long until it shows something, and what that costs.

`make bench-browse`, or `python benchmarks/browse.py --help`. Everything is asked of the real command in a process
of its own, over loopback, as a browser does; what is drawn is measured in Debian's Chromium. The median of some
rounds counts. With a delay of 30 ms on each request to the store, another process has it put in (`far`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from browse_material import MIB, Long, Wide
from machine import compile_packages, machine, say
from measured import drop_caches
from tools import Rpdrive

from tests.kit.browser import chromium

DELAY = 0.030  # s
FAR = """
import sys
from catalog.store import address
from catalog.store.delayed import DelayedStore
real = address.open_store
address.open_store = lambda *args, **options: DelayedStore(real(*args, **options), %r)
import rpdrive
sys.exit(rpdrive.run(sys.argv[1:]))
"""
ROUNDS = 5


class Row:
    """A figure beside what it should be: at most that, or with `least` at least."""

    def __init__(self, what: str, value: float, unit: str, target: float, *, least: bool = False) -> None:
        self.what, self.value, self.unit, self.target, self.least = what, value, unit, target, least

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.least else self.value <= self.target

    def cells(self) -> list[str]:
        sign = ">=" if self.least else "<="
        met = "" if self.met else "**missed**"
        return [self.what, f"{self.value:.3g} {self.unit}", f"{sign} {self.target:g} {self.unit}", met]


class Running:
    """The command, and a client of its page with one connection."""

    def __init__(self, tool: Rpdrive, *, far: bool = False) -> None:
        command = [sys.executable, "-c", FAR % DELAY] if far else [tool.command]
        environment = tool.environment | {"PYTHONPATH": str(Path(__file__).parents[1])}
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "browse", "--no-open"], env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            found = re.search(r"http://127\.0\.0\.1:[0-9]+/\S*#t=\S+", line)
            if found:
                self.link = found[0]
                break
        else:
            raise RuntimeError(f"rpdrive browse printed no link: {printed}")
        self.started = time.monotonic() - began
        parts = urlsplit(self.link)
        self.origin = f"http://{parts.netloc}"
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._cookie = self._key = ""

    def enter(self) -> None:
        headers, body = self._ask("POST", "/session", {"token": self.link.partition("#t=")[2]})
        self._cookie, self._key = headers["Set-Cookie"].partition(";")[0], json.loads(body)["key"]

    def _ask(self, method: str, path: str, value: object = None) -> tuple[Any, bytes]:
        headers = {
            "Origin": self.origin, "Content-Type": "application/json", "Cookie": self._cookie,
            "X-Rpdrive-Key": self._key,
        }  # fmt: skip
        body = None if method == "GET" else json.dumps(value if value is not None else {})
        self._connection.request(method, f"/api/v1{path}", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return answer.headers, data

    def get(self, path: str, **params: object) -> Any:
        return json.loads(self._ask("GET", path + (f"?{urlencode(params)}" if params else ""))[1])

    def post(self, path: str, value: object) -> Any:
        return json.loads(self._ask("POST", path, value)[1])

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def memory(self) -> float:
        """Resident MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024 / 1e6

    def close(self) -> None:
        self._connection.close()
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def running(tool: Rpdrive, *, far: bool = False) -> Iterator[Running]:
    page = Running(tool, far=far)
    try:
        page.enter()
        yield page
    finally:
        page.close()


def path64(path: str | Path) -> str:
    return base64.urlsafe_b64encode(os.fsencode(path)).decode().rstrip("=")


def timed(work: Callable[..., object], *args: Any, **params: Any) -> float:
    """The seconds of a call."""
    began = time.monotonic()
    work(*args, **params)
    return time.monotonic() - began


def newest(page: Running) -> str:
    (one,) = page.get("/machines")["machines"]
    return str(page.get("/points", machine=one["id"], item=one["items"][0]["id"], count=1)["points"][0]["id"])


# --- rows -----------------------------------------------------------------------------------------------------


def start(wide: Wide) -> list[Row]:
    times, idle = [], []
    for _ in range(ROUNDS):
        with running(wide.tool) as page:
            times.append(page.started)
            newest(page)
            idle.append(page.memory())
    return [
        Row("command to printed link, saved key", statistics.median(times), "s", 0.8),
        Row("memory, idle", statistics.median(idle), "MB", 110),
    ]


def folder(wide: Wide, *, far: bool) -> list[Row]:
    firsts, wholes, ends = [], [], []
    memory = 0.0
    for _ in range(ROUNDS):
        drop_caches()
        with running(wide.tool, far=far) as page:
            point, at = newest(page), path64(wide.source / "names")
            firsts.append(timed(page.get, f"/points/{point}/folder", at=at, count=100))
            began = time.monotonic()
            while page.get(f"/points/{point}/folder", at=at, count=1)["state"] != "whole":
                time.sleep(0.01)
            wholes.append(time.monotonic() - began)
            url = f"/points/{point}/folder"
            ends.append(
                max(
                    timed(page.get, url, at=at, order="size", desc=1, count=100),
                    timed(page.get, url, at=at, filter="99", count=100),
                    timed(page.get, url, at=at, **{"from": 99_900}, count=100),
                    timed(page.get, f"/points/{point}/rank", at=at, prefix="name 0770"),
                )
            )
            if not far:
                found = page.post("/searches", {"text": "*77*", "point": point})["id"]
                while page.get(f"/searches/{found}")["state"] == "running":
                    time.sleep(0.05)
                memory = max(memory, page.memory())
    away = ", 30 ms a request" if far else ""
    rows = [
        Row(f"folder of 100,000: first rows{away}", statistics.median(firsts), "s", 0.5 if far else 0.15),
        Row(f"folder of 100,000: all of it read{away}", statistics.median(wholes), "s", 1.2),
        Row(f"then the slowest of order, filter, End, jump{away}", statistics.median(ends), "s", 1.2),
    ]
    return rows if far else [*rows, Row("memory after that folder and a search", memory, "MB", 220)]


def preview(wide: Wide, *, far: bool) -> list[Row]:
    texts, images = [], []
    for _ in range(ROUNDS):
        drop_caches()
        with running(wide.tool, far=far) as page:
            point = newest(page)
            seen = wide.source / "seen"
            page.get(f"/points/{point}/folder", at=path64(seen))

            def text(page: Running = page, point: str = point, at: str = path64(seen / "text.txt")) -> None:
                page.get(f"/points/{point}/preview", at=at)
                page.get(f"/points/{point}/text", at=at)

            def image(page: Running = page, point: str = point, at: str = path64(seen / "picture.png")) -> None:
                page.get(f"/points/{point}/preview", at=at)
                fetched(page.post(f"/points/{point}/link", {"at": at, "as": "inline"})["url"])

            texts.append(timed(text))
            images.append(timed(image))
    away, target = (", 30 ms a request", 0.4) if far else ("", 0.2)
    return [
        Row(f"preview of a text of 1 MiB{away}", statistics.median(texts), "s", target),
        Row(f"preview of an image of 1 MiB{away}", statistics.median(images), "s", target),
    ]


def fetched(url: str) -> tuple[int, str]:
    """The bytes and the hash of what a link leads to."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=120)
    connection.request(
        "GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers={"Host": parts.netloc}
    )
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{url}: {answer.status} {answer.read()[:300]!r}")
    size, digest = 0, hashlib.sha256()
    while data := answer.read(MIB):
        size += len(data)
        digest.update(data)
    connection.close()
    return size, digest.hexdigest()


def streams(wide: Wide, folder: Path) -> list[Row]:
    speeds, ratios = [], []
    for _ in range(3):
        with running(wide.tool) as page:
            point = newest(page)
            link = page.post(f"/points/{point}/link", {"at": path64(wide.source / "large"), "as": "attachment"})[
                "url"
            ]
            drop_caches()
            began = time.monotonic()
            command = ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", link]
            size = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            speeds.append(size / (time.monotonic() - began) / 1e6)
            link = page.post(f"/points/{point}/link", {"at": path64(wide.source / "small"), "as": "tar"})["url"]
            out = folder / "out"
            out.mkdir()
            drop_caches()
            tar = timed(
                lambda u=link, o=out: subprocess.run(f"curl -sf '{u}' | tar -x -C {o}", shell=True, check=True)
            )
            shutil.rmtree(out)
        drive = folder / "drive"
        drive.mkdir(exist_ok=True)
        mount = [wide.tool.command, "mount", str(drive), "--point", "latest"]
        subprocess.run(mount, env=wide.tool.environment, check=True, stdout=subprocess.DEVNULL)
        try:
            drop_caches()
            small = drive / wide.source.relative_to("/") / "small"
            copied = timed(subprocess.run, ["cp", "-r", small, out], check=True)
        finally:
            subprocess.run([wide.tool.command, "unmount", str(drive)], env=wide.tool.environment, check=True)
        shutil.rmtree(out)
        ratios.append(copied / tar)
    return [
        Row("download of 1 GiB in order", statistics.median(speeds), "MB/s", 300, least=True),
        Row("tar of 20,000 small files, unpacked, beside cp -r from the drive", statistics.median(ratios), "x",
            0.7, least=True),
    ]  # fmt: skip


def search(long: Long) -> list[Row]:
    firsts, wholes, cancels = [], [], []
    for _ in range(3):
        drop_caches()
        with running(long.tool) as page:
            newest(page)
            began = time.monotonic()
            found = page.post("/searches", {"text": "file-07*"})["id"]
            while not (answer := page.get(f"/searches/{found}", count=1))["hits"] and answer["state"] == "running":
                time.sleep(0.005)
            firsts.append(time.monotonic() - began)
            while page.get(f"/searches/{found}", count=1)["state"] == "running":
                time.sleep(0.05)
            wholes.append(time.monotonic() - began)
        drop_caches()
        with running(long.tool) as page:
            found = page.post("/searches", {"text": "nothing-like-it"})["id"]
            time.sleep(1.0)
            began = time.monotonic()
            page.delete(f"/searches/{found}")
            while page.get(f"/searches/{found}", count=1)["state"] == "running":
                time.sleep(0.005)
            cancels.append(time.monotonic() - began)
    return [
        Row("search in 500 points: first hit", statistics.median(firsts), "s", 0.5),
        Row("search in 500 points: to its end", statistics.median(wholes), "s", 20),
        Row("search: cancelled", statistics.median(cancels), "s", 0.2),
    ]


_FRAMES = """
async () => {
  const box = document.querySelector('[role=grid] .grid-view');
  const times = [];
  let last = performance.now();
  for (let n = 0; n < 120; n++) {
    box.scrollTop += 400;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length * 0.95)];
}
"""


def drawn(wide: Wide) -> list[Row]:
    """What a browser sees: bytes of the first load, first paint of a warm page, frames while scrolling."""
    paints, wire, frames = [], 0, 0.0
    with running(wide.tool) as page, chromium() as browser:
        context = browser.new_context()
        tab = context.new_page()
        client = context.new_cdp_session(tab)
        client.send("Network.enable")
        sizes: list[float] = []
        client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        link = page.post("/session/link", {})["url"]
        tab.goto(link)
        tab.wait_for_selector("main h1")
        tab.wait_for_timeout(1000)
        wire = int(sum(sizes))
        for _ in range(ROUNDS):
            tab.goto(page.origin + "/about")
            tab.wait_for_selector("main h1")
            tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paints.append(
                tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
            )
        point = newest(page)
        tab.goto(f"{page.origin}/point/{point}/{path64(wide.source / 'names')}")
        tab.wait_for_selector("[role=grid] [role=row]")
        tab.wait_for_timeout(3000)
        frames = float(tab.evaluate(_FRAMES))
        context.close()
    return [
        Row("first load, over the wire", wire / 1024, "KiB", 60),
        Row("warm page, first paint", statistics.median(paints), "s", 0.3),
        Row("a frame while scrolling 100,000 names, 95th percentile", frames, "ms", 16.8),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/rpdrive-bench")))
    parser.add_argument("--quick", action="store_true", help="a tenth of the data: to see that it runs")
    parser.add_argument("--again", action="store_true", help="use the vaults of the last run")
    parser.add_argument("--only", default="start,folder,far,preview,streams,search,drawn")
    options = parser.parse_args()
    compile_packages()
    options.folder.mkdir(parents=True, exist_ok=True)
    tenth = 10 if options.quick else 1
    wide = Wide(options.folder, 100_000 // tenth, 20_000 // tenth, 1024 * MIB // tenth)
    long = Long(options.folder, 500 // tenth, 500, 200 // tenth)
    only = set(options.only.split(","))
    rows: list[Row] = []
    say("using the vaults that are there" if options.again else "making the vaults")
    if only - {"search"} and not options.again:
        wide.make()
    if "search" in only and not options.again:
        long.make()
    parts: dict[str, Callable[[], list[Row]]] = {
        "start": lambda: start(wide),
        "folder": lambda: folder(wide, far=False),
        "preview": lambda: preview(wide, far=False),
        "streams": lambda: streams(wide, options.folder),
        "search": lambda: search(long),
        "drawn": lambda: drawn(wide),
        "far": lambda: folder(wide, far=True) + preview(wide, far=True),
    }
    for name, part in parts.items():
        if name in only:
            say(name)
            rows += part()
            for row in rows[-8:]:
                say("  " + "  ".join(row.cells()))
    print("| what | measured | to reach | |\n|---|---|---|---|")
    for row in sorted(rows, key=lambda r: r.met):
        print(f"| {' | '.join(row.cells())} |")
    print(f"\n{machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Downloads through the real server: ranges, conditions, headers, links, and ends of every kind."""

from __future__ import annotations

import http.client
import io
import subprocess
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mount.browse.resources import streams
from tests.browse.have.trees import BIG, LONG, Tree
from tests.kit.browsing import Answer, Page, opened_as, page_of
from tests.kit.drives import eventually
from tests.kit.vaults import Remote

pytestmark = pytest.mark.needs_program("curl")


@pytest.fixture(scope="module")
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.close()


@pytest.fixture(scope="module")
def page(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(opened_as(tmp_path_factory.mktemp("download"), tree.vault)) as found:
        yield found


def _path64(path: bytes) -> str:
    return urlsafe_b64encode(path).decode().rstrip("=")


def _link(page: Page, tree: Tree, path: bytes, kind: str = "attachment") -> dict[str, Any]:
    found: dict[str, Any] = page.post(f"/points/{tree.point.id.hex()}/link", {"at": _path64(path), "as": kind})
    return found


def _get(page: Page, url: str, method: str = "GET", **headers: str) -> Answer:
    """What the content origin answers, with headers given as `if_range`."""
    parts = urlsplit(url)
    given: Mapping[str, str] = {"Host": parts.netloc} | {k.replace("_", "-"): v for k, v in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)) as connection:
        connection.request(method, parts.path, headers=given)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def test_whole_and_parts(page: Page, tree: Tree) -> None:
    link = _link(page, tree, b"/home/big.bin")
    url, size = link["url"], len(BIG)
    assert (link["name"], link["size"]) == ("big.bin", size)
    whole = _get(page, url)
    assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, BIG, "bytes")
    assert whole.headers["content-length"] == str(size)
    tag = whole.headers["etag"]
    assert tag.startswith('"') and _get(page, url).headers["etag"] == tag
    for given, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=5-", 5, size), ("bytes=-7", size - 7, size), ("bytes=-99999999", 0, size),
        (f"bytes=1048575-{size * 9}", 1048575, size), ("bytes=1000000-2000000", 1000000, 2000001),
    ):  # fmt: skip
        part = _get(page, url, range=given, if_range=tag)
        assert (part.status, part.body) == (206, BIG[start:end]), given
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for given in ("bytes=0-1,5-6", "bytes=9-3", "bytes=x-", "lines=1-2", "bytes=-", "bytes=1-2;" + "x" * 3000):
        assert (_get(page, url, range=given).status, given) == (200, given)
    assert _get(page, url, range="bytes=0-1", if_range='"another"').status == 200
    assert _get(page, url, range="bytes=0-1", if_range="Sun, 13 Sep 2020 12:26:40 GMT").status == 200
    for given in (f"bytes={size}-", "bytes=-0", "bytes=9999999999999999999-"):
        answer = _get(page, url, range=given)
        assert (answer.status, answer.headers["content-range"], answer.body) == (416, f"bytes */{size}", b"")
    for given in (tag, f'"x", W/{tag}', "*"):
        answer = _get(page, url, if_none_match=given)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    head = _get(page, url, "HEAD", range="bytes=0-1")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")


def test_holes_and_empty_files(page: Page, tree: Tree) -> None:
    sparse = _get(page, _link(page, tree, b"/home/sparse")["url"]).body
    assert sparse == b"head" + bytes(5 << 20) + b"tail"
    url = _link(page, tree, b"/home/nothing")["url"]
    empty = _get(page, url)
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")
    assert _get(page, url, range="bytes=0-").status == 416


def test_headers_of_contents_from_strangers(page: Page, tree: Tree) -> None:
    for path in tree.contents:
        if not path.startswith(b"home/many/"):
            answer = _get(page, _link(page, tree, b"/" + path, "inline")["url"], "HEAD")
            assert answer.status == 200, path
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment; ")
            assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
            assert "set-cookie" not in answer.headers


def test_only_pictures_and_pdf_are_shown(page: Page, tree: Tree) -> None:
    kinds = {
        b"png": (b"\x89PNG\r\n\x1a\n", "image/png"), b"jpeg": (b"\xff\xd8\xff\xe0", "image/jpeg"),
        b"gif": (b"GIF89a", "image/gif"), b"webp": (b"RIFF\0\0\0\0WEBP", "image/webp"),
        b"avif": (b"\0\0\0\x14ftypavif\0\0\0\0avif", "image/avif"), b"pdf": (b"%PDF-1.7\n", "application/pdf"),
        b"svg": (b"<svg xmlns='http://www.w3.org/2000/svg'>", ""), b"html": (b"<html><script>", ""),
        b"xml": (b"<?xml version='1.0'?>", ""), b"js": (b"alert(1)", ""),
    }  # fmt: skip
    root = tree.maker.root([tree.maker.file(name, data) for name, (data, _type) in kinds.items()])
    point = tree.add(root).id.hex()
    for name, (data, kind) in kinds.items():
        link = page.post(f"/points/{point}/link", {"at": _path64(b"/" + name), "as": "inline"})
        answer = _get(page, link["url"])
        assert answer.body == data
        assert answer.headers["content-type"] == (kind or "application/octet-stream"), name
        assert answer.headers["content-disposition"].split(";")[0] == ("inline" if kind else "attachment"), name
        policy = answer.headers["content-security-policy"]
        pdf = f"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors {page.origin}"
        assert policy == (pdf if name == b"pdf" else "sandbox; default-src 'none'")
        link = page.post(f"/points/{point}/link", {"at": _path64(b"/" + name), "as": "attachment"})
        assert _get(page, link["url"]).headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_folder_by_curl(page: Page, tree: Tree, tmp_path: Path, kind: str) -> None:
    link = _link(page, tree, b"/home/links", kind)
    assert link["name"] == f"links.{kind}"
    command = ["curl", "-sSOJ", "--resolve", f"localhost:{page.port}:127.0.0.1", link["url"]]
    subprocess.run(command, cwd=tmp_path, timeout=30, check=True)
    data = (tmp_path / f"links.{kind}").read_bytes()
    assert len(data) == link["size"]
    if kind == "tar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = archive.getnames()
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None
            names = [name.rstrip("/") for name in opened.namelist()]
    assert names == ["links", "links/first", "links/second", "links/third"]


def test_a_tar_that_broke_off_goes_on(page: Page, tree: Tree, tmp_path: Path) -> None:
    url = _link(page, tree, b"/home", "tar")["url"]
    whole = _get(page, url).body
    target = tmp_path / "a.tar"
    target.write_bytes(whole[: len(whole) // 3])
    command = ["curl", "-sS", "-C", "-", "-o", target, "--resolve", f"localhost:{page.port}:127.0.0.1", url]
    subprocess.run(command, timeout=30, check=True)
    assert target.read_bytes() == whole
    assert _get(page, _link(page, tree, b"/home", "zip")["url"], range="bytes=5-").status == 200


def test_a_basket_of_several_folders(page: Page, tree: Tree) -> None:
    point = tree.point.id.hex()
    other = tree.add(tree.maker.root([tree.maker.file(b"links", b"another")])).id.hex()
    places = [(point, b"/home/links"), (point, b"/home/big.bin"), (other, b"/links"), (point, b"/home/links")]
    order = {"places": [{"point": p, "at": _path64(at)} for p, at in places]}
    link = page.post("/basket/link", order | {"as": "tar"})
    answer = _get(page, link["url"])
    assert len(answer.body) == link["size"]
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        names = archive.getnames()
    tops = [name for name in names if "/" not in name]
    assert len(tops) == 3 and tops[1] == "big.bin"
    assert all(name.startswith("links (home 2026-") for name in (tops[0], tops[2])) and tops[0] != tops[2]
    part = _get(page, link["url"], range="bytes=5000-", if_range=answer.headers["etag"])
    assert (part.status, part.body) == (206, answer.body[5000:])
    packed = _get(page, page.post("/basket/link", order | {"as": "zip"})["url"]).body
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.testzip() is None and len(opened.namelist()) == len(names)


def test_bad_orders_are_refused(page: Page, tree: Tree) -> None:
    page.enter()
    path, home = f"/points/{tree.point.id.hex()}/link", _path64(b"/home")
    nowhere = {"point": "0" * 32, "at": home}
    for target, order, status in (
        (path, {"at": home, "as": "inline"}, 400), (path, {"at": home, "as": "rar"}, 400),
        (path, {"at": home}, 400), ("/basket/link", {"places": [nowhere], "as": "zip"}, 404),
        (path, {"at": _path64(b"/home/../x"), "as": "tar"}, 400), (path, {"at": "!", "as": "tar"}, 400),
        (path, {"at": _path64(b"/no"), "as": "tar"}, 404), ("/points/x/link", {"at": home, "as": "tar"}, 404),
        ("/basket/link", {"places": [], "as": "tar"}, 400),
        ("/basket/link", {"places": [{"point": "x" * 32, "at": home}], "as": "zip"}, 404),
    ):  # fmt: skip
        assert (page.api("POST", target, order).status, order) == (status, order)
    url = _link(page, tree, b"/home/big.bin")["url"]
    assert _get(page, url.replace("/c/", "/c/A")).status == 404
    assert page.request("GET", urlsplit(url).path).status in (200, 404)  # the page's own origin: no contents there
    assert BIG[:100] not in page.request("GET", urlsplit(url).path).body


def test_damage_cuts_the_connection_and_is_told(page: Page) -> None:
    tree = Tree()
    opened = opened_as(Path(page.opened.session.settings.cache), tree.vault)
    with page_of(opened) as other:
        url = _link(other, tree, b"/home", "tar")["url"]
        tree.spoil(b"home/many/file-299")
        with pytest.raises(http.client.IncompleteRead):
            _get(other, url)
        eventually(lambda: not opened.streams.running(), "the download ends")
        row = opened.streams.recent()[0]
        assert row.state == "cut" and row.problem is not None and "home/many/file-" in row.problem
        assert 0 < row.sent < row.total
        direct = _get(other, _link(other, tree, b"/home/many/file-299")["url"])
        assert direct.status == 502 and b"file-299" in direct.body  # nothing was sent yet: it can say so
    tree.close()


def test_a_browser_that_goes_away_ends_the_reading(page: Page, tree: Tree) -> None:
    size = 8 << 30
    node = tree.maker.node(b"huge", size=size, content=tree.maker.file(b"x", size).content)
    point = tree.add(tree.maker.root([node])).id.hex()
    url = page.post(f"/points/{point}/link", {"at": _path64(b"/huge"), "as": "attachment"})["url"]
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)) as connection:
        connection.request("GET", parts.path, headers={"Host": parts.netloc})
        answer = connection.getresponse()
        assert answer.headers["content-length"] == str(size)
        assert answer.read(3 << 20) == bytes(3 << 20)
        (row,) = page.opened.streams.running()
        assert (row.name, row.total) == ("huge", size)
        answer.close()
    eventually(lambda: not page.opened.streams.running(), "the reading ends")
    row = next(row for row in page.opened.streams.recent() if row.name == "huge")
    assert row.state == "stopped" and row.sent < size
    last = _get(page, url, range=f"bytes={size - 10}-")  # beyond 4 GiB
    assert (last.status, last.body) == (206, bytes(10))


def _begun(page: Page, tree: Tree, at: str) -> Iterator[http.client.HTTPResponse]:
    """A download of 8 GiB that has begun, and is never read to its end."""
    node = tree.maker.node(b"huge", size=8 << 30, content=tree.maker.file(b"x", 8 << 30).content)
    point = tree.add(tree.maker.root([node])).id.hex()
    parts = urlsplit(page.post(f"/points/{point}/link", {"at": at, "as": "attachment"})["url"])
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)) as connection:
        connection.request("GET", parts.path, headers={"Host": parts.netloc})
        answer = connection.getresponse()
        assert answer.read(1 << 20) == bytes(1 << 20)
        yield answer


def test_a_download_ends_with_its_session_and_with_the_server(tree: Tree, tmp_path: Path) -> None:
    opened = opened_as(tmp_path, tree.vault)
    with page_of(opened) as page:
        for answer in _begun(page, tree, _path64(b"/huge")):
            assert page.api("DELETE", "/session").status == 204
            left = 0
            while part := answer.read(1 << 20):
                left += len(part)
            assert left < 1 << 30
        eventually(lambda: not opened.streams.running(), "the download ends")
    opened = opened_as(tmp_path, tree.vault)
    with page_of(opened) as page:
        waiting = _begun(page, tree, _path64(b"/huge"))
        answer = next(waiting)
    assert [row.state for row in opened.streams.recent()] == ["stopped"]
    answer.close()
    waiting.close()  # type: ignore[attr-defined]


def test_requests_to_the_store(tmp_path: Path) -> None:
    """Links and headers cost none, a file those of its blocks, and an archive no data before its first byte."""
    far = Remote()
    made = Tree(far.vault)
    with page_of(opened_as(tmp_path, far.opened())) as page:
        _link(page, made, b"/home/nothing")
        before = far.requests
        link = _link(page, made, b"/home/big.bin")
        assert _get(page, link["url"], "HEAD").status == 200
        assert _get(page, link["url"], if_none_match="*").status == 304
        assert far.requests == before  # all that was asked stands in the page of the folder
        assert _get(page, link["url"]).body == BIG
        assert far.requests - before == 2  # a block, and what is read ahead
        before = far.requests
        archive = _link(page, made, b"/home/many", "tar")
        assert _get(page, archive["url"], "HEAD").headers["content-length"] == str(archive["size"])
        assert far.requests == before  # the tree is in one block, which is there
        assert len(_get(page, archive["url"]).body) == archive["size"]
        assert far.requests - before == 2  # a block alone, and then ahead
    made.close()


def test_too_many_downloads_are_told_to_come_later(page: Page, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 0)
    answer = _get(page, _link(page, tree, b"/home/big.bin")["url"])
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_names_of_every_kind_survive_their_header(page: Page, tree: Tree) -> None:
    header = _get(page, _link(page, tree, b'/home/"\r\n<x>')["url"], "HEAD").headers["content-disposition"]
    assert header == "attachment; filename=\"____x_\"; filename*=UTF-8''____x_"
    header = _get(page, _link(page, tree, b"/home/" + LONG)["url"], "HEAD").headers["content-disposition"]
    assert header.endswith(f"UTF-8''{'n' * 255}")


def test_downloads_are_listed_and_told_of(page: Page, tree: Tree) -> None:
    with page.opened.bus.subscribe(lambda: None) as told:
        _get(page, _link(page, tree, b"/home/sparse")["url"], range="bytes=10-19")
        eventually(lambda: not page.opened.streams.running(), "the download ends")
        batch = told.take()
    row = page.get("/downloads")["downloads"][0]
    assert batch is not None and {(n.type, n.id) for n in batch.notices} == {("job", row["id"])}
    assert (row["name"], row["what"], row["state"]) == ("sparse", "attachment", "done")
    assert (row["start"], row["end"], row["sent"], row["problem"]) == (10, 20, 20, None)
    _get(page, _link(page, tree, b"/home/nothing", "inline")["url"])
    assert page.get("/downloads")["downloads"][0]["name"] == "sparse"  # what is shown on the page is none


@pytest.mark.soak
@pytest.mark.slow
def test_a_zip_of_more_than_4_gib_by_unzip(page: Page, tree: Tree, tmp_path: Path) -> None:
    size = (4 << 30) + 5
    node = tree.maker.node(b"huge", size=size, content=tree.maker.file(b"x", size - 5, b"after").content)
    point = tree.add(tree.maker.root([node, tree.maker.file(b"last", b"here")])).id.hex()
    url = page.post(f"/points/{point}/link", {"at": _path64(b"/"), "as": "zip"})["url"]
    target = tmp_path / "a.zip"
    command = ["curl", "-sS", "-o", target, "--resolve", f"localhost:{page.port}:127.0.0.1", url]
    subprocess.run(command, timeout=300, check=True)
    subprocess.run(["unzip", "-tq", target], timeout=300, check=True)
    with zipfile.ZipFile(target) as opened:
        assert [m.file_size for m in opened.infolist()][1:] == [size, 4]

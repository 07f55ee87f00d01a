"""Our session with the kernel, without the kernel: sizes, wild requests, and answers compared with the view."""

from __future__ import annotations

import ctypes
import errno
import random
import stat
import struct
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.reader import Reader
from catalog.errors import NotFound
from catalog.format.values import NodeKind
from catalog.store.base import Store
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper, T
from catalog.vault import Vault
from mount.drivers.kernel import protocol
from mount.drivers.kernel.drive import Stopped
from mount.drivers.kernel.nodes import Counts
from mount.drivers.kernel.protocol import ATTR_OUT, ENTRY_OUT, IN_HEADER, NO_REPLY, READ_IN, Init, Op
from mount.drivers.kernel.session import Session
from mount.view.nodes import File, Folder, Link, Node
from mount.view.point import PointView
from tests.kit.backing import back_up
from tests.kit.drives import Maker, add_machine, add_point, noise
from tests.kit.kernel import Kernel, Listed
from tests.kit.vaults import make_vault, new_vault

HOLE = 1 << 20


def test_every_struct_has_the_size_that_the_protocol_says() -> None:
    structs = {n: s for n, s in vars(protocol).items() if isinstance(s, struct.Struct) and not n.startswith("_")}
    assert set(structs.values()) == set(protocol.SIZES)

    class Attr(ctypes.Structure):  # as the C compiler lays it out
        _fields_ = [(n, ctypes.c_uint64) for n in "abcdef"] + [(n, ctypes.c_uint32) for n in "ghijklmnop"]

    class Entry(ctypes.Structure):
        _fields_ = [(n, ctypes.c_uint64) for n in "abcd"] + [(n, ctypes.c_uint32) for n in "ef"] + [("g", Attr)]

    assert (ctypes.sizeof(Attr), ctypes.sizeof(Entry)) == (protocol.ATTR.size, ENTRY_OUT.size)


def make_view(folder: Path) -> tuple[PointView, Reader]:
    """A point with every kind of entry, and folders that take several pages."""
    vault = make_vault(folder)
    add_machine(vault)
    m = Maker(vault)
    linked = m.file(b"a link", b"two names", link=7, nlink=2)
    many = [m.node(b"empty %05d" % n, content=[]) for n in range(700)]
    pair = m.data.block([b"small one", b"small two"])
    m.data.finish()
    inner = [
        m.node(b"one", content=[pair[0]], size=9), m.node(b"two", content=[pair[1]], size=9), linked,
        m.folder(b"deeper", [m.file(b"bottom", b"b"), m.folder(b"nothing", [], content=None)]),
    ]  # fmt: skip
    nodes = [
        linked.__class__(**{f: getattr(linked, f) for f in linked.__struct_fields__} | {"name": b"other link"}),
        m.folder(b"inner", inner),
        m.folder(b"many", many),
        m.file(b"big", noise(700_000), noise(500_000, 2)),
        m.file(b"sparse", noise(5000), HOLE, noise(3000, 3), HOLE),
        m.file(b"none"),
        m.file(b"attributes", b"x", xattrs={b"user.one": b"1", b"user.long": m.out_of_line(noise(9000))}),
        m.node(b"symlink", NodeKind.SYMLINK, mode=0o777, content=b"to \xff there", size=10),
        m.node(b"fifo", NodeKind.FIFO),
        m.node(b"device", NodeKind.CHAR_DEVICE, content=(1, 3), mtime=-5, ctime=-1_500_000_000),
    ]
    add_point(vault, m.root(nodes), 1)
    reader = Reader(vault, memory=4 << 20)
    return PointView(reader, vault.point(vault.point_names()[0])), reader


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PointView, Reader]]:
    view, reader = make_view(tmp_path_factory.mktemp("kernel") / "vault")
    yield view, reader
    reader.close()


@pytest.fixture
def kernel(view: tuple[PointView, Reader]) -> Iterator[Kernel]:
    kernel = Kernel(*view)
    yield kernel
    kernel.session.close()


# --- wild requests --------------------------------------------------------------------------------------------

REQUESTS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda op, unique, node, body, lie: IN_HEADER.pack(
            IN_HEADER.size + len(body) + lie, op, unique, node, 0, 0, 1, 0, 0
        ) + body,
        st.one_of(st.integers(0, 60), st.integers(0, 2**32 - 1)),
        st.integers(1, 2**64 - 1),
        st.one_of(st.integers(0, 800), st.integers(2**32, 2**32 + 9), st.integers(0, 2**64 - 1)),
        st.one_of(st.binary(max_size=120), st.binary(max_size=20).map(lambda b: b + b"\0")),
        st.sampled_from([0, 0, 0, 0, -1, 5]),
    ),
)  # fmt: skip


def test_a_signal_is_no_failure_of_the_request_that_it_interrupts(view: tuple[PointView, Reader]) -> None:
    def interrupted(_parts: object) -> None:
        raise Stopped

    session = Session(*view, interrupted)
    try:
        for op, body in ((Op.STATFS, b""), (Op.READDIR, READ_IN.pack(0, 0, 4096, 0, 0, 0, 0))):
            request = IN_HEADER.pack(IN_HEADER.size + len(body), op, 2, 1, 0, 0, 1, 0, 0) + body
            with pytest.raises(Stopped):
                session.answer(memoryview(request))
        assert session.errors.count == 0
    finally:
        session.close()


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, min_size=1, max_size=4))
def test_no_request_ends_the_session(view: tuple[PointView, Reader], requests: list[bytes]) -> None:
    answers: list[int] = []
    session = Session(*view, lambda parts: answers.append(struct.unpack_from("=IiQ", b"".join(parts))[2]))
    try:
        expected = []
        for request in requests:
            session.answer(memoryview(request))  # raises nothing
            if len(request) >= IN_HEADER.size:
                _length, op, unique, *_ = IN_HEADER.unpack_from(request)
                expected += [unique] if op not in NO_REPLY else []
        session.waiting.close(finish=True)
        assert Counter(answers) == Counter(expected)  # each is answered, once
    finally:
        session.close()


def test_what_is_not_known_is_not_there(kernel: Kernel) -> None:
    assert kernel.ask(999, 1).error == errno.ENOSYS
    assert kernel.ask(Op.FLUSH, 1, bytes(24)).error == errno.ENOSYS
    assert kernel.ask(Op.WRITE, 1, bytes(40)).error == errno.EROFS
    assert kernel.ask(Op.READ, 1, b"short").error == errno.EINVAL
    assert kernel.ask(Op.LOOKUP, 1, b"no end").error == errno.EINVAL
    assert kernel.ask(Op.GETATTR, 123_456_789).error == errno.ENOENT
    assert kernel.lookup(1, b"inner")[0] and kernel.nothing_more()


def test_what_is_agreed_with_the_kernel(kernel: Kernel) -> None:
    """What it offers and we use; all else that it offers stays off, and nothing is taken that it doesn't offer."""
    wanted = Init.ASYNC_READ | Init.DO_READDIRPLUS | Init.PARALLEL_DIROPS | Init.ABORT_ERROR | Init.MAX_PAGES
    wanted |= Init.NO_OPEN_SUPPORT | Init.NO_OPENDIR_SUPPORT | Init.CACHE_SYMLINKS
    for minor, offered in ((31, 0xFFFFFFFF), (38, 0xFFFFFFFF), (45, 0xFFFFFFFF), (45, int(wanted) & ~(1 << 13))):
        answer = kernel.ask(Op.INIT, 0, struct.pack("=IIII", 7, minor, 131072, offered))
        major, ours, readahead, flags, background, congestion, _write, grain, pages, *_ = protocol.INIT_OUT.unpack(
            answer.body
        )
        assert (major, ours) == (7, min(minor, protocol.MINOR))
        assert flags == int(wanted) & offered
        assert (readahead, pages, grain) == (1 << 20, 256, 1)
        assert 0 < congestion <= background


def test_acls_are_left_to_the_kernel_where_others_may_enter(kernel: Kernel) -> None:
    """Else the kernel would ask for them at every first look at an entry, for nothing."""
    for others, offered, expected in ((True, 0xFFFFFFFF, True), (True, 0, False), (False, 0xFFFFFFFF, False)):
        kernel.session.for_others = others
        answer = kernel.ask(Op.INIT, 0, struct.pack("=IIII", 7, 38, 131072, offered))
        flags = protocol.INIT_OUT.unpack(answer.body)[3]
        assert bool(flags & Init.POSIX_ACL) == (expected and kernel.session.view.has_xattrs())


def test_an_older_kernel_is_refused(kernel: Kernel) -> None:
    assert kernel.ask(Op.INIT, 0, struct.pack("=IIII", 7, 30, 131072, 0)).error == errno.EPROTO
    assert not kernel.session.started
    answer = kernel.ask(Op.INIT, 0, struct.pack("=IIII", 7, 31, 131072, 0xFFFFFFFF))
    assert (answer.error, len(answer.body), kernel.session.started) == (0, protocol.INIT_OUT.size, True)


# --- as the view has it ---------------------------------------------------------------------------------------


def attributes_in(body: bytes) -> tuple[int, ...]:
    a = protocol.ATTR.unpack(body)
    return a[0], a[9], a[10], a[11], a[12], a[13], a[1], a[2], a[4] * 10**9 + a[7], a[5] * 10**9 + a[8]


def attributes_of(node: Node) -> tuple[int, ...]:
    a = node.attributes
    return a.inode, a.mode, a.nlink, a.uid, a.gid, a.rdev, a.size, a.blocks, a.mtime, a.ctime


def check_listing(kernel: Kernel, folder: Folder, listed: list[Listed], told: Counter[int]) -> None:
    nodes = {name: page.node(n) for page in folder.pages() for n, name in enumerate(page.names)}
    assert [e.name for e in listed] == [b".", b"..", *nodes]
    for e in listed[2:]:
        a = nodes[e.name].attributes
        assert (e.inode, e.kind) == (a.inode, stat.S_IFMT(a.mode) >> 12)
        if e.entry:
            assert attributes_in(e.entry[40:]) == attributes_of(nodes[e.name])
            told[e.inode] += 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_sequence_of_requests_shows_the_view(view: tuple[PointView, Reader], data: st.DataObject) -> None:
    """Lookups, listings in pieces of any size, reads, seeks, attributes, forgetting: as the view says."""
    kernel = Kernel(*view)
    known: dict[int, Node] = {1: view[0].root}
    told: Counter[int] = Counter()
    try:
        for _step in range(data.draw(st.integers(5, 40))):
            node_id = data.draw(st.sampled_from(sorted(known)))
            step(kernel, data, node_id, known, told)
        assert kernel.nothing_more()
        assert kernel.session.errors.count == 0
        assert len(kernel.session.nodes.counts) == sum(1 for n in told.values() if n)
        kernel.forget({node_id: n for node_id, n in told.items() if n})
        nodes = kernel.session.nodes
        assert len(nodes.counts) == nodes.counts.rows == len(nodes) == 0
    finally:
        kernel.session.close()


def step(kernel: Kernel, data: st.DataObject, node_id: int, known: dict[int, Node], told: Counter[int]) -> None:
    node = known[node_id]
    assert attributes_in(kernel.ask(Op.GETATTR, node_id, bytes(16)).body[16:]) == attributes_of(node)
    if isinstance(node, Folder):
        names = [name for page in node.pages() for name in page.names]
        if data.draw(st.booleans()):
            size = data.draw(st.integers(300, 40_000))
            plus = data.draw(st.booleans())
            check_listing(kernel, node, list(kernel.list_all(node_id, size, plus=plus)), told)
            return
        name = data.draw(st.sampled_from([*names, b"no such name", b"\xff"]))
        found, answer = kernel.lookup(node_id, name)
        assert answer.error == 0
        try:
            child = node.lookup(name)
        except NotFound:
            assert found == 0 and struct.unpack_from("=QQQ", answer.body)[2] > 10**6  # remembered for good
            return
        assert found == child.attributes.inode
        assert attributes_in(answer.body[40:]) == attributes_of(child)
        known[found] = child
        told[found] += 1
    elif isinstance(node, File):
        size = node.attributes.size
        offset, length = data.draw(st.integers(0, size + 10)), data.draw(st.integers(0, 1 << 20))
        answer = kernel.read(node_id, offset, length)
        assert answer.error == 0 and answer.body == bytes(node.open().read(offset, length))
    elif isinstance(node, Link):
        assert kernel.ask(Op.READLINK, node_id).body == node.target
    else:
        assert kernel.ask(Op.READ, node_id, bytes(40)).error == errno.EINVAL
    for name in node.xattr_names():
        value = node.xattr(name)
        assert value is not None
        assert kernel.ask(Op.GETXATTR, node_id, struct.pack("=II", 0, 0) + name + b"\0").body[:4] == struct.pack(
            "=I", len(value)
        )
        assert kernel.ask(Op.GETXATTR, node_id, struct.pack("=II", 65536, 0) + name + b"\0").body == bytes(value)


def test_a_listing_goes_on_from_any_entry(kernel: Kernel) -> None:
    node_id, _answer = kernel.lookup(1, b"many")
    whole = list(kernel.list_all(node_id, 4096))
    assert len(whole) == 702 and len({e.cookie for e in whole}) == 702
    for n in random.Random(3).sample(range(702), 30):
        rest = kernel.list(node_id, whole[n].cookie, 2000)
        assert [e.name for e in rest] == [e.name for e in whole[n + 1 : n + 1 + len(rest)]]
    assert kernel.list(node_id, whole[-1].cookie, 4096) == []


def test_holes_are_found(kernel: Kernel) -> None:
    node_id, _answer = kernel.lookup(1, b"sparse")

    def seek(offset: int, whence: int) -> int:
        answer = kernel.seek(node_id, offset, whence)
        return -answer.error if answer.error else struct.unpack("=Q", answer.body)[0]

    data, hole = protocol.SEEK_DATA, protocol.SEEK_HOLE
    end = 8000 + 2 * HOLE
    assert [seek(o, data) for o in (0, 4999, 5000, 5000 + HOLE, 8000 + HOLE)] == [
        0, 4999, 5000 + HOLE, 5000 + HOLE, -errno.ENXIO,
    ]  # fmt: skip
    assert [seek(o, hole) for o in (0, 5000, 5001, 5000 + HOLE, end - 1, end)] == [
        5000, 5000, 5001, 8000 + HOLE, end - 1, -errno.ENXIO,
    ]  # fmt: skip
    node_id, _answer = kernel.lookup(1, b"big")
    assert seek(5, hole) == 1_200_000
    assert kernel.seek(node_id, 0, 1).error == errno.EINVAL


def test_no_room_for_a_value(kernel: Kernel) -> None:
    node_id, _answer = kernel.lookup(1, b"attributes")
    assert kernel.ask(Op.GETXATTR, node_id, struct.pack("=II", 3, 0) + b"user.long\0").error == errno.ERANGE
    assert kernel.ask(Op.GETXATTR, node_id, struct.pack("=II", 3, 0) + b"user.none\0").error == errno.ENODATA
    assert kernel.ask(Op.LISTXATTR, node_id, struct.pack("=II", 0, 0)).body[:4] == struct.pack("=I", 19)


def test_an_entry_that_cannot_be_understood_shows_its_name_and_harms_no_other(tmp_path: Path) -> None:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    m_nodes = [m.file(b"good", b"g"), m.node(b"odd", 99), m.file(b"well", b"w")]  # type: ignore[arg-type]
    add_point(vault, m.root(m_nodes), 1)
    reader = Reader(vault)
    kernel = Kernel(PointView(reader, vault.point(vault.point_names()[0])), reader)
    listed = {e.name: e for e in kernel.list_all(1)}
    assert set(listed) == {b".", b"..", b"good", b"odd", b"well"}
    assert not any(listed[b"odd"].entry) and any(listed[b"well"].entry)
    assert kernel.lookup(1, b"odd")[1].error == errno.EIO
    assert [row["path"] for row in kernel.session.errors.recent] == ["/odd"]
    found, _answer = kernel.lookup(1, b"well")
    assert kernel.read(found, 0, 10).body == b"w"
    kernel.session.close()
    reader.close()


# --- when files were made -------------------------------------------------------------------------------------

MADE = 1_234_567_890_123_456_700  # ns


@pytest.fixture
def windows(tmp_path: Path) -> Iterator[Kernel]:
    """A point of a system that tells when files were made."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault, system="Windows")
    m = Maker(vault)
    nodes = [
        m.file(b"known", b"x", more={"created": MADE}), m.file(b"early", b"x", more={"created": -1}),
        m.file(b"unknown", b"x", more={"attributes": 32}), m.file(b"neither", b"x"),
        m.node(b"device", NodeKind.BLOCK_DEVICE, content=(259, 70_000)),
        m.folder(b"folder", [m.file(b"in it", b"y")], more={"created": MADE}),
    ]  # fmt: skip
    point = add_point(vault, m.root(nodes), 1, system="Windows")
    reader = Reader(vault)
    kernel = Kernel(PointView(reader, point), reader)
    yield kernel
    kernel.session.close()
    reader.close()


def test_statx_is_what_getattr_says_and_when_the_original_was_made(windows: Kernel) -> None:
    made = {b"known": MADE, b"early": -1, b"folder": MADE}
    assert windows.statx(1).error == 0
    for name in (b"known", b"early", b"unknown", b"neither", b"device", b"folder"):
        node_id, _answer = windows.lookup(1, name)
        answer = windows.statx(node_id)
        row = protocol.STATX_OUT.unpack(answer.body)
        a = protocol.ATTR.unpack(windows.ask(Op.GETATTR, node_id, bytes(16)).body[16:])
        assert row[0] > 10**6  # kept for good
        assert row[3] == 0x7FF | (0x800 if name in made else 0)
        assert row[6:10] == (a[10], a[11], a[12], a[9])  # links, owner, group, mode
        assert row[11:14] == (a[0], a[1], a[2])  # inode, size, blocks
        atime, btime, ctime, mtime = (row[n] * 10**9 + row[n + 1] for n in (15, 17, 19, 21))
        assert (atime, mtime) == (a[4] * 10**9 + a[7],) * 2
        assert ctime == a[5] * 10**9 + a[8]
        assert btime == made.get(name, 0)
        major, minor = row[23:25]
        assert (minor & 0xFF) | major << 8 | (minor & 0xFFF00) << 12 == a[13]
    assert windows.ask(Op.STATX, 1, b"short").error == errno.EINVAL
    assert windows.ask(Op.STATX, 123_456_789, bytes(24)).error == errno.ENOENT


def test_statx_is_refused_for_good_where_no_entry_knows_more(kernel: Kernel) -> None:
    assert kernel.statx(1).error == errno.ENOSYS


# --- memory ---------------------------------------------------------------------------------------------------


def test_a_million_names_take_two_bytes_each_until_they_are_forgotten() -> None:
    counts = Counts()
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        for first in range(2, 1_000_002, 1000):
            counts.add(range(first, first + 1000))
        now, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(counts) == 1_000_000
    assert now - before < 2_000_000
    for node_id in range(2, 1_000_002):
        assert counts.forget(node_id, 1)
    assert (len(counts), counts.rows) == (0, 0)


# --- waiting --------------------------------------------------------------------------------------------------


class Gate(StoreWrapper):
    """Reads wait while it is shut."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.open = threading.Event()
        self.reached = threading.Event()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if not self.open.is_set():
            self.reached.set()
        assert self.open.wait(60)
        return call()


def test_a_slow_fetch_holds_up_nobody_else(tmp_path: Path) -> None:
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"slow", noise(50_000)), m.file(b"quick", b"q")]), 1)
    gate = Gate(vault.store)
    gate.open.set()
    gated = Vault(gate, vault.keys, vault.file)
    reader = Reader(gated)
    kernel = Kernel(PointView(reader, gated.point(gated.point_names()[0])), reader)
    slow, _answer = kernel.lookup(1, b"slow")
    quick, _answer = kernel.lookup(1, b"quick")
    assert kernel.read(quick, 0, 10).body == b"q"
    gate.open.clear()
    asked = kernel.tell(Op.READ, slow, READ_IN.pack(0, 0, 60_000, 0, 0, 0, 0))
    assert gate.reached.wait(60)
    for _n in range(20):
        assert kernel.read(quick, 0, 10).body == b"q"
        assert kernel.lookup(1, b"slow")[0] == slow
    assert kernel.ask(Op.INIT, 0, struct.pack("=IIII", 7, 40, 131072, 0)).error == 0
    kernel.tell(Op.INTERRUPT, 0, struct.pack("=Q", asked))  # it has been begun: its answer comes in its time
    assert kernel.nothing_more()
    gate.open.set()
    assert kernel.receive(asked) == (0, noise(50_000))
    kernel.session.close()
    reader.close()


# --- pushing --------------------------------------------------------------------------------------------------


class Small:
    """A folder of 300 small files, backed up, and a kernel over it."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        rng = random.Random(5)
        for n in range(300):
            (self.source / f"file {n:03}").write_bytes(rng.randbytes(rng.randrange(1000, 9000)))
        point = back_up(vault, folder / "state", self.source).point
        assert point is not None
        self.reader = Reader(vault)
        self.kernel = Kernel(PointView(self.reader, point), self.reader)
        self.folder = 1
        for part in bytes(self.source).strip(b"/").split(b"/"):
            self.folder, _answer = self.kernel.lookup(self.folder, part)

    def content(self, n: int) -> bytes:
        return (self.source / f"file {n:03}").read_bytes()

    def read(self, node_id: int, n: int) -> None:
        assert self.kernel.read(node_id, 0, 1 << 17).body == self.content(n)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    vault = new_vault(MemoryStore())
    small = Small(tmp_path, vault)
    yield small
    small.kernel.session.close()
    small.reader.close()


def listed_ids(small: Small) -> list[int]:
    return [e.inode for e in small.kernel.list_all(small.folder)][2:]


def test_neighbours_are_pushed_once_reading_goes_in_order(small: Small) -> None:
    ids = listed_ids(small)
    for n in range(3):
        small.read(ids[n], n)
        assert bool(small.kernel.stored) == (n == 2)
    pushed = dict(small.kernel.stored)
    assert len(pushed) == len(small.kernel.stored) > 50
    places = {node_id: n for n, node_id in enumerate(ids)}
    numbers = sorted(places[node_id] for node_id in pushed)
    assert numbers == list(range(3, 3 + len(numbers)))  # those that follow, and no others
    assert all(data == small.content(places[node_id]) for node_id, data in pushed.items())
    assert sum(map(len, pushed.values())) <= 1 << 20
    following = numbers[-1] + 1
    small.read(ids[following], following)  # the first of the next block
    assert len(small.kernel.stored) > len(pushed)
    assert small.kernel.session.status()["pushed_files"] == len(small.kernel.stored)


def test_nothing_is_pushed_for_random_reads(small: Small) -> None:
    ids = listed_ids(small)
    for n in [*range(290, 0, -7), *range(0, 300, 40), 5, 6, 200, 201, 90]:
        small.read(ids[n], n)
    for _again in range(5):
        small.read(ids[5], 5)
    assert small.kernel.stored == []


def test_nothing_is_pushed_to_nodes_that_the_kernel_does_not_know(small: Small) -> None:
    ids = listed_ids(small)
    gone = set(ids[10:20])
    small.kernel.forget(dict.fromkeys(gone, 1))
    for n in range(3):
        small.read(ids[n], n)
    pushed = {node_id for node_id, _data in small.kernel.stored}
    assert pushed and not pushed & gone
    small.kernel.stored.clear()
    small.kernel.forget(dict.fromkeys(set(ids) - gone, 1))
    for n in range(100, 103):
        small.read(ids[n], n)
    assert small.kernel.stored == []


def test_a_damaged_block_is_an_error_and_pushes_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    vault = new_vault(LocalStore(tmp_path / "store"))
    small = Small(tmp_path, vault)
    ids = listed_ids(small)
    for pack in (tmp_path / "store" / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            data = bytearray(pack.read_bytes())
            data[100] ^= 1
            pack.write_bytes(data)
    for n in range(5):
        assert small.kernel.read(ids[n], 0, 1 << 17).error == errno.EIO
    assert small.kernel.stored == []
    assert {row["kind"] for row in small.kernel.session.errors.recent} == {"Damaged"}
    small.kernel.session.close()
    small.reader.close()


def test_getattr_says_for_how_long(kernel: Kernel) -> None:
    body = kernel.ask(Op.GETATTR, 1, bytes(16)).body
    assert len(body) == ATTR_OUT.size and struct.unpack_from("=Q", body)[0] > 10**8

"""Sources of the siege: small trees made and edited from a seed, and what they held at a moment."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from tests.kit.recorded import Seen, Snapshot, of_source, seen

_ODD = (b"new\nline", b"\xff\xfe not UTF-8", b" ", b"-dash", "é".encode(), "e\u0301".encode(), b"tab\t\x1b[31m",
        b"*", b"!", b"a[b]", b"#", b"~", b"n" * 255, b".hidden", b"trailing ", b"back\\slash", 
        b"%s", b"{}")  # fmt: skip


class Tree:
    """A folder whose contents only this class changes. Every choice comes from `rng`."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self._rng = root, rng
        self._number = 0

    def make(self) -> None:
        """Fill the folder, which is made, with some of everything."""
        rng = self._rng
        self.root.mkdir(parents=True)
        for _ in range(rng.randrange(3, 9)):
            self._new_folder()
        for _ in range(rng.choice([10, 30, 60, 120])):
            self._new_file()
        for _ in range(rng.randrange(4)):
            self._new_file(rng.randrange(40_000, 600_000))
        for act in (self._sparse, self._link, self._link, self._symlink, self._special, self._xattr, self._odd):
            act()

    def edit(self) -> None:
        """Change a few things, as users and programs do between two backups."""
        acts: list[Callable[[], object]] = [
            self._new_file, self._new_file, self._large, self._overwrite, self._overwrite, self._append,
            self._cut, self._same_size, self._remove, self._rename, self._move_folder, self._remove_folder,
            self._new_folder, self._copy, self._copy_folder, self._touch, self._chmod, self._xattr, self._link,
            self._symlink, self._special, self._sparse, self._odd, self._replace_kind, self._chown,
            self._back_in_time,
        ]  # fmt: skip
        for _ in range(self._rng.choice([1, 1, 2, 4, 8])):
            self._rng.choice(acts)()

    # --- choices ------------------------------------------------------------------------------------------

    def _all(self, wanted: Callable[[int], bool]) -> list[bytes]:
        found = []
        for above, folders, names in os.walk(os.fsencode(self.root)):
            folders.sort()
            paths = [os.path.join(above, name) for name in sorted(folders + names)]
            found += [path for path in paths if wanted(os.lstat(path).st_mode)]
        return found

    def _file(self) -> bytes | None:
        files = self._all(stat.S_ISREG)
        return self._rng.choice(files) if files else None

    def _folder(self) -> bytes:
        return self._rng.choice([os.fsencode(self.root), *self._all(stat.S_ISDIR)])

    def _name(self) -> bytes:
        self._number += 1
        return b"%s %d" % (self._rng.choice((b"letter", b"table", b"image", b"Note")), self._number)

    def _data(self, size: int) -> bytes:
        rng = self._rng
        return rng.randbytes(size) if rng.random() < 0.7 else (rng.randbytes(31) * (size // 31 + 1))[:size]

    def _size(self) -> int:
        return self._rng.choice([0, 1, 100, 1000, 5000, 5000, 17_000, 33_000])

    # --- edits --------------------------------------------------------------------------------------------

    def _write(self, path: bytes, data: bytes, mode: str = "wb", at: int | None = None) -> None:
        with open(path, mode) as file:  # noqa: PTH123 - bytes
            if at is not None:
                file.seek(at)
            file.write(data)

    def _new_folder(self) -> None:
        path = os.path.join(self._folder(), self._name())
        if len(path) < 3000:
            os.mkdir(path)

    def _new_file(self, size: int | None = None) -> bytes:
        path = os.path.join(self._folder(), self._name())
        self._write(path, self._data(self._size() if size is None else size))
        return path

    def _large(self) -> None:
        self._new_file(self._rng.randrange(40_000, 300_000))

    def _overwrite(self) -> None:
        if path := self._file():
            self._write(path, self._data(self._size()))

    def _append(self) -> None:
        if path := self._file():
            self._write(path, self._data(self._size()), "ab")

    def _cut(self) -> None:
        if path := self._file():
            os.truncate(path, os.stat(path).st_size // 2)

    def _same_size(self) -> None:
        """Other bytes in the middle, and the old time again: only the change time tells."""
        if path := self._file():
            st = os.stat(path)
            if st.st_size:
                self._write(path, self._rng.randbytes(1), "r+b", self._rng.randrange(st.st_size))
                os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))

    def _remove(self) -> None:
        paths = self._all(lambda mode: not stat.S_ISDIR(mode))
        if len(paths) > 5:
            os.unlink(self._rng.choice(paths))

    def _rename(self) -> None:
        if path := self._file():
            os.rename(path, os.path.join(self._folder(), self._name()))

    def _move_folder(self) -> None:
        folders = self._all(stat.S_ISDIR)
        if folders:
            path, to = self._rng.choice(folders), self._folder()
            if not (to + b"/").startswith(path + b"/") and len(to) < 2000:
                os.rename(path, os.path.join(to, self._name()))

    def _remove_folder(self) -> None:
        folders = self._all(stat.S_ISDIR)
        if len(folders) > 3:
            shutil.rmtree(self._rng.choice(folders))

    def _copy(self) -> None:
        if path := self._file():
            shutil.copy2(path, os.path.join(self._folder(), self._name()))

    def _copy_folder(self) -> None:
        folders = self._all(stat.S_ISDIR)
        if folders and len(self._all(stat.S_ISREG)) < 150:
            path, to = self._rng.choice(folders), os.fsencode(self.root)
            shutil.copytree(
                os.fsdecode(path), os.fsdecode(os.path.join(to, self._name())), symlinks=True, copy_function=_copied
            )

    def _touch(self) -> None:
        if path := self._file():
            os.utime(path)

    def _back_in_time(self) -> None:
        """An older version comes back, with its old time."""
        if path := self._file():
            self._write(path, self._data(self._size()))
            os.utime(path, ns=(0, self._rng.choice([0, 1, 10**18, -(10**15), 2**62])))

    def _chmod(self) -> None:
        if path := self._file():
            os.chmod(path, self._rng.choice([0o600, 0o644, 0o4755, 0o000, 0o777]))

    def _chown(self) -> None:
        if (path := self._file()) and os.getuid() == 0:
            os.chown(path, self._rng.choice([0, 1000, 65534]), self._rng.choice([0, 1000, 2**31]))

    def _xattr(self) -> None:
        path = self._rng.choice([self._file() or self._folder(), self._folder()])
        name = self._rng.choice(["user.one", "user.two"])
        if name in os.listxattr(path) and self._rng.random() < 0.3:
            os.removexattr(path, name)
        else:
            os.setxattr(path, name, self._rng.randbytes(self._rng.choice([0, 1, 200, 1500])))

    def _link(self) -> None:
        if path := self._file():
            os.link(path, os.path.join(self._folder(), self._name()))

    def _symlink(self) -> None:
        os.symlink(self._rng.choice([b"nowhere", b"\xff", b"../..", b"a" * 1000]), self._in_folder())

    def _special(self) -> None:
        os.mkfifo(self._in_folder())

    def _in_folder(self) -> bytes:
        return os.path.join(self._folder(), self._name())

    def _sparse(self) -> None:
        with open(self._in_folder(), "wb") as file:  # noqa: PTH123 - bytes
            for _ in range(self._rng.randrange(4)):
                file.seek(self._rng.randrange(1 << 10) << 12)
                file.write(self._data(5000))
            file.truncate(self._rng.choice([1 << 22, (1 << 22) + 1, 1 << 23]))

    def _odd(self) -> None:
        path = os.path.join(self._folder(), self._rng.choice(_ODD))
        if not os.path.lexists(path):
            self._write(path, self._data(self._size()))

    def _replace_kind(self) -> None:
        """A file becomes a folder of the same name."""
        if path := self._file():
            os.unlink(path)
            os.mkdir(path)
            self._write(os.path.join(path, b"inside"), b"a file's place")


def _copied(source: str, target: str) -> None:
    """Copy one entry of any kind but folders."""
    if stat.S_ISFIFO(os.lstat(source).st_mode):
        os.mkfifo(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


class Frozen:
    """What a tree held at a moment: attributes and digests, and the files' bytes in a folder of their own."""

    def __init__(self, number: int, snapshot: Snapshot) -> None:
        self.number = number
        self._snapshot = snapshot

    @classmethod
    def of(cls, number: int, root: Path, kept: Path) -> Frozen:
        """Freeze what is below `root`. Contents that `kept` has not yet are copied into it."""
        snapshot = of_source(root)
        kept.mkdir(exist_ok=True)
        for path, entry in snapshot.entries.items():
            if stat.S_ISREG(os.lstat(os.path.join(os.fsencode(root), path)).st_mode):
                copy = kept / entry.content[0]
                if not copy.exists():
                    shutil.copyfile(os.path.join(os.fsencode(root), path), copy)
        return cls(number, snapshot)

    def difference(self, found: Snapshot, *, only: bool = False) -> str:
        """Where `found` differs from this, "" if nowhere. `only`: what `found` lacks is no difference."""
        wanted = self._snapshot
        paths = found.entries.keys() if only else found.entries.keys() | wanted.entries.keys()
        differ = sorted(p for p in paths if found.entries.get(p) != wanted.entries.get(p))
        if differ:
            rows = [f"{p!r}: {found.entries.get(p)} is not {wanted.entries.get(p)}" for p in differ[:3]]
            return f"{len(differ)} entries differ: " + "; ".join(rows)
        if not only and found.links != wanted.links:
            return f"hard links differ: {found.links ^ wanted.links}"
        return ""

    def lacks(self, found: Snapshot) -> list[bytes]:
        return sorted(self._snapshot.entries.keys() - found.entries.keys())


class Moved(Frozen):
    """A tree that changed while it was saved: each entry has to be one of its `versions`."""

    def __init__(self, number: int, versions: list[Snapshot], torn: frozenset[bytes] = frozenset()) -> None:
        super().__init__(number, versions[-1])
        self._versions, self._torn = versions, torn

    def difference(self, found: Snapshot, *, only: bool = False) -> str:
        bad = []
        for path in sorted({p for s in (found, *self._versions) for p in s.entries}):
            seen = found.entries.get(path)
            allowed: list[Seen | None] = [s.entries.get(path) for s in self._versions]
            if seen not in allowed and path not in self._torn and not (only and seen is None):
                bad.append(f"{path!r}: {seen} is none of {allowed}")
        return f"{len(bad)} entries are no version: " + "; ".join(bad[:3]) if bad else ""


def seen_where_readable(root: Path, failures: int) -> Snapshot:
    """What is below a folder, without what can't be read; ends after so many failures."""
    entries: dict[bytes, Seen] = {}
    groups: dict[tuple[int, int], set[bytes]] = {}
    pending = [b""]
    while pending and failures > 0:
        folder = pending.pop()
        try:
            names = os.listdir(os.path.join(os.fsencode(root), folder))
        except OSError:
            failures -= 1
            continue
        for name in names:
            if failures <= 0:
                break
            here = folder + b"/" + name if folder else name
            path = os.path.join(os.fsencode(root), here)
            try:
                st = os.lstat(path)
                entries[here] = seen(path, st)
            except OSError:
                failures -= 1
                continue
            if stat.S_ISDIR(st.st_mode):
                pending.append(here)
            elif st.st_nlink > 1:
                groups.setdefault((st.st_dev, st.st_ino), set()).add(here)
    return Snapshot(entries, {frozenset(g) for g in groups.values()})


__all__ = ["Frozen", "Moved", "Snapshot", "Tree", "of_source", "seen_where_readable"]

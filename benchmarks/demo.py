"""A tour of rpdrive on real files: back a folder up, open its recovery points as a drive, compare, copy out.

`make demo [DIR=/some/folder]`. Everything is made in a temporary folder and removed at the end, also after
Ctrl-C. Exit code 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT = Path("/usr/share")
COPY_FILES, COPY_BYTES = 3_000, 64 << 20  # how much is copied, to be changed
SHOWN = 12  # lines of a long output
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")


class Failed(Exception):
    """The tour cannot continue, or a check failed; the text is shown to the user."""


class Result(NamedTuple):
    """The output of a command, its exit code and its seconds."""

    output: str
    errors: str
    code: int
    seconds: float


class Row(NamedTuple):
    """A line of the summary."""

    what: str
    size: str
    requests: str
    seconds: float


def size(count: float) -> str:
    """A number of bytes in readable units."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        del units[0]
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


def say(text: str = "") -> None:
    print(text, flush=True)


def section(title: str) -> None:
    say(f"\n{BOLD}{title}{PLAIN}")


# --- what has to be there -----------------------------------------------------------------------------------


def check_machine() -> Path:
    """The command `rpdrive` beside this Python. Raises Failed, which says what to install."""
    command = Path(sys.executable).with_name("rpdrive")
    if not command.exists():
        raise Failed(f"rpdrive is not installed beside {sys.executable}: start this by `make demo`")
    if not Path("/dev/fuse").exists():
        raise Failed(
            "there is no /dev/fuse on this machine: `apt install libfuse2 fuse3` and `modprobe fuse` as root; "
            "in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
        )
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Failed("you may not use /dev/fuse: ask for access to it, or run this as root")
    if ctypes.util.find_library("fuse") is None and not _has_libfuse2():
        raise Failed(
            "libfuse 2 is not on this machine: `apt install libfuse2` (on newer systems libfuse2t64) as root"
        )
    if os.geteuid() != 0 and not (shutil.which("fusermount3") or shutil.which("fusermount")):
        raise Failed("fusermount is not on this machine: `apt install fuse3` as root")
    if shutil.which("diff") is None:
        raise Failed("diff is not on this machine: `apt install diffutils` as root")
    return command


def _has_libfuse2() -> bool:
    try:
        ctypes.CDLL("libfuse.so.2")
    except OSError:
        return False
    return True


def check_folder(folder: Path) -> Path:
    """The absolute path of the folder to back up. Raises Failed if it is unsuitable."""
    real = folder.expanduser().resolve()
    if not real.is_dir():
        raise Failed(f"{folder} is not a folder")
    temporary = Path(tempfile.gettempdir()).resolve()
    if real == temporary or real in temporary.parents:
        raise Failed(f"{folder} holds the folder for temporary files, {temporary}: choose another, or set TMPDIR")
    return real


# --- commands -----------------------------------------------------------------------------------------------


class Shell:
    """Shows commands, runs them in a folder, shows what they print."""

    def __init__(self, command: Path, environment: dict[str, str], work: Path) -> None:
        self._command, self._environment, self._work = command, environment, work

    def rpdrive(
        self, *words: str | Path, hide: bool = False, show: bool = True, expect: tuple[int, ...] = (0,)
    ) -> Result:
        """Run rpdrive. `-v` is added, but not shown, for the number of requests.

        Raises Failed on an unexpected exit code.
        """
        shown = ["rpdrive", *map(str, words)]
        return self._run([str(self._command), "-v", *map(str, words)], shown, hide, show, expect)

    def run(self, *words: str | Path, hide: bool = False, expect: tuple[int, ...] = (0,)) -> Result:
        """Run any other command."""
        return self._run(list(map(str, words)), list(map(str, words)), hide, True, expect)

    def _run(self, words: list[str], shown: list[str], hide: bool, show: bool, expect: tuple[int, ...]) -> Result:
        if show:
            say(f"{BOLD}$ {shlex.join(shown)}{PLAIN}")
        began = time.monotonic()
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env=self._environment, cwd=self._work, text=True, errors="surrogateescape",
        )  # fmt: skip
        try:
            output, errors = process.communicate()
        except BaseException:
            # A command that ends by itself takes back what it had begun; wait for it before cleaning up.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            raise
        result = Result(output, errors, process.returncode, time.monotonic() - began)
        if result.code not in expect:
            raise Failed(
                f"`{shlex.join(shown)}` ended with exit code {result.code}:\n{errors.strip() or output.strip()}"
            )
        if show and not hide:
            self.show(result.output)
        return result

    def show(self, text: str) -> None:
        """Print what a command printed, cut short if it is long."""
        lines = text.rstrip("\n").split("\n") if text.strip() else []
        for line in lines[:SHOWN]:
            say(line.encode(errors="replace").decode())
        if len(lines) > SHOWN:
            say(f"… and {len(lines) - SHOWN} more lines")


def requests(result: Result) -> int:
    """How many requests to the store a command run with -v reports."""
    found = re.search(r"^rpdrive: ([\d,]+) requests", result.errors, re.MULTILINE)
    return int(found[1].replace(",", "")) if found else 0


# --- the tour -----------------------------------------------------------------------------------------------


class Tour:
    """One run. `work` is the temporary folder, and the current one of all commands."""

    def __init__(self, shell: Shell, work: Path, folder: Path) -> None:
        self.sh, self.work, self.folder = shell, work, folder
        self.mnt, self.copy = work / "mnt", work / "copy"
        self.rows: list[Row] = []

    def run(self) -> None:
        for part in (self.create, self.back_up, self.change, self.open, self.look, self.compare, self.copy_out):
            part()
        drive = self.close()
        self.protect()
        self.summary(drive)

    def create(self) -> None:
        section("1. A vault holds everything, encrypted. This one is a folder; it could be in Azure Blob Storage.")
        self.sh.rpdrive("vault", "create", "vault")

    def back_up(self) -> None:
        section(f"2. Back {self.folder} up. The result is a recovery point.")
        result = self.sh.rpdrive("backup", self.folder, expect=(0, 3))
        if result.code == 3:
            self.sh.show(result.errors)
            raise Failed(f"not everything in {self.folder} can be read: run this as root, or choose another folder")
        self._row(f"first backup of {self.folder}", result)
        say("\nOnce more: nothing has changed, so nothing is read or stored again.")
        result = self.sh.rpdrive("backup", self.folder)
        self._row("the same, unchanged", result)

    def change(self) -> None:
        section(f"3. Change something. A copy of a part of {self.folder} serves for that.")
        files, copied = copy_part(self.folder, self.copy)
        (self.copy / "notes.txt").write_text("The first version.\n")
        say(f"(copied {files:,} files, {size(copied)}, to {self.copy}, and wrote notes.txt there)")
        self._row("backup of a copy of a part", self.sh.rpdrive("backup", "copy", "--item", "work"))
        say(f"\n(now {change_part(self.copy)})")
        say("As a script would do it, with --json:")
        result = self.sh.rpdrive("backup", "copy", "--item", "work", "--json", hide=True)
        row = json.loads(result.output)
        wanted = (
            "point",
            "previous",
            "new",
            "changed",
            "removed",
            "unchanged",
            "read_bytes",
            "data_bytes",
            "requests",
        )
        self.sh.show(json.dumps({name: row[name] for name in wanted}, indent=2))
        self._row("the same, changed", result)

    def open(self) -> None:
        section("4. Every recovery point is there:")
        self.sh.rpdrive("points")
        say("\nOpen them all as one drive. Only what is looked at will be fetched.")
        self.sh.run("mkdir", "mnt")
        result = self.sh.rpdrive("mount", "mnt")
        self.rows.append(Row("open the drive", "", "", result.seconds))

    def look(self) -> None:
        points = self._json("points")["points"]
        own = points[0]["machine"]
        self.machine = Path("mnt", own)
        say()
        self.sh.run("ls", self.machine)
        self.sh.run("ls", "-l", self.machine / "work")
        self.points = [p for p in points if p["item"] != "work"]

    def compare(self) -> None:
        section("5. Compare the drive with the source, every byte.")
        root = self.machine / self.points[0]["item"] / "latest"
        self._compare(str(self.folder), self.folder, root)
        self._compare("the copy", self.copy, self.machine / "work" / "latest")
        say("No difference.")

    def _compare(self, what: str, source: Path, root: Path) -> None:
        there = Path(f"{root}{source}")
        before = self._drive()
        result = self.sh.run("diff", "-r", "--no-dereference", source, there, hide=True, expect=(0, 1, 2))
        lines = [line for line in (result.output + result.errors).splitlines() if not _same_kind(line)]
        if lines:
            self.sh.show("\n".join(lines))
            raise Failed(
                f"{len(lines)} differences between {source} and the drive (was {source} changed meanwhile?)"
            )
        after = self._drive()
        served = after["bytes_served"] - before["bytes_served"]
        asked = after["store_requests"] - before["store_requests"]
        self.rows.append(Row(f"read and compare {what}", size(served), f"{asked:,}", result.seconds))

    def copy_out(self) -> None:
        section("6. Copy a file out, as it was before the change.")
        folders = [p.name for p in (self.work / self.machine / "work").iterdir()]
        first = min(name for name in folders if name != "latest" and not name.startswith("."))
        old = Path(f"{self.machine / 'work' / first}{self.copy}") / "notes.txt"
        out = Path("notes-before.txt")
        self.sh.run("cp", "-p", old, out)
        self.sh.run("cat", "copy/notes.txt", out)
        if (self.work / out).read_text() != "The first version.\n":
            raise Failed("the file copied out is not what was backed up first")
        say("\nA drive is read-only:")
        result = self.sh.run("touch", old, hide=True, expect=(0, 1))
        self.sh.show(result.errors)
        if result.code == 0:
            raise Failed("the drive took a change")

    def close(self) -> dict[str, Any]:
        section("7. What the drive has done; then close it.")
        self.sh.rpdrive("mounts")
        drive = self._drive()
        self.sh.rpdrive("unmount", "mnt")
        if any(self.mnt.iterdir()):
            raise Failed(f"the drive is still open at {self.mnt}")
        return drive

    def protect(self) -> None:
        section("8. From now on by itself. (Without --no-timer, this would also install a timer on this machine.)")
        self.sh.rpdrive("protect", "copy", "--item", "work", "--no-timer")

    def summary(self, drive: dict[str, Any]) -> None:
        section("Summary")
        stored = self._json("vault", "info", "--sizes")["stored"]
        total, objects = (sum(held[key] for held in stored.values()) for key in ("bytes", "objects"))
        say(f"{'':<44}{'bytes':>12}{'requests':>10}{'seconds':>9}")
        for row in self.rows:
            say(f"{row.what[:43]:<44}{row.size:>12}{row.requests:>10}{row.seconds:>9.1f}")
        say(
            f"\nThe vault: {len(self.points) + 2} recovery points in {objects:,} objects, {size(total)}.\n"
            f"The drive: {drive['store_requests']:,} requests for {size(drive['bytes_fetched'])}, "
            f"{size(drive['bytes_served'])} served, {drive['errors']} errors."
        )
        if drive["errors"]:
            raise Failed("the drive met errors")

    # --- asking ---------------------------------------------------------------------------------------------

    def _json(self, *words: str) -> Any:
        return json.loads(self.sh.rpdrive(*words, "--json", show=False).output)

    def _drive(self) -> dict[str, Any]:
        for row in self._json("mounts"):
            if row["mount_point"] == str(self.mnt) and row["answers"]:
                return dict(row)
        raise Failed(f"the drive at {self.mnt} does not answer")

    def _row(self, what: str, result: Result) -> None:
        """A line of the summary about a backup, with what it stored, from the vault itself."""
        point = self._json("points")["points"][-1]
        self.rows.append(Row(what, size(point["stored_bytes"]), f"{requests(result):,}", result.seconds))


def _same_kind(line: str) -> bool:
    """diff names pairs of FIFOs, devices and sockets, though they are alike: it compares contents only."""
    found = re.fullmatch(r"File .* is an? (.+) while file .* is an? (.+)", line)
    return bool(found and found[1] == found[2])


# --- something to change ------------------------------------------------------------------------------------


def copy_part(folder: Path, copy: Path) -> tuple[int, int]:
    """Copy regular files of a folder, up to some thousand and some MiB; how many files and bytes."""
    files = total = 0
    copy.mkdir()
    for path, length in _regular(folder):
        if files >= COPY_FILES:
            break
        if total + length > COPY_BYTES:
            continue
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
        files += 1
        total += length
    return files, total


def _regular(folder: Path) -> Iterator[tuple[Path, int]]:
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(above, name)
            if path.is_file() and not path.is_symlink():
                yield path, path.stat().st_size


def change_part(copy: Path) -> str:
    """Change, add, remove and rename files; return a description."""
    done = ["notes.txt rewritten", "new.txt added"]
    (copy / "notes.txt").write_text("The second version, a little longer.\n")
    (copy / "new.txt").write_text("This file was not there before.\n")
    files = [path for path, _ in _regular(copy) if path.parent != copy]
    edited = files[1:100:10]
    for path in edited:
        path.chmod(0o644)
        with path.open("ab") as file:
            file.write(b"One more line.\n")
    if edited:
        done.append(f"a line added to {len(edited)} files")
    if files:
        files[0].unlink()
        done.append("one file removed")
    folders = sorted(p for p in copy.iterdir() if p.is_dir())
    if folders:
        folders[-1].rename(copy / "renamed folder")
        done.append(f"the folder {folders[-1].name} renamed")
    return ", ".join(done)


# --- from beginning to end ----------------------------------------------------------------------------------


def is_mounted(place: Path) -> bool:
    """Read from the kernel's mount table: accessing the folder itself may block."""
    text = str(place).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split()[4] == text for line in Path("/proc/self/mountinfo").read_text().splitlines())


def clean_up(shell: Shell, work: Path, quiet: bool) -> None:
    """Unmount, whatever is in use, and remove the temporary folder. Raises Failed if something can't be removed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mnt = work / "mnt"
    end = time.monotonic() + 10
    while mnt.exists() or is_mounted(mnt):
        try:
            mnt.rmdir()  # from here on a drive that is just about to open can't
            break
        except OSError:
            if time.monotonic() > end:
                raise Failed(f"{mnt} can't be unmounted: `umount -l {mnt}`, then remove {work}") from None
            with contextlib.suppress(Failed):
                shell.rpdrive("unmount", "--lazy", mnt, show=False)
            time.sleep(0.1)
    for _ in range(3):
        shutil.rmtree(work, ignore_errors=True)
    if work.exists():
        raise Failed(f"{work} can't be removed: please do so")
    if not quiet:
        say(f"Removed {work}.")


def stop_by_signal(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def tour(folder: Path) -> int:
    """The exit code."""
    command, source = check_machine(), check_folder(folder)
    signal.signal(signal.SIGTERM, stop_by_signal)
    signal.signal(signal.SIGHUP, stop_by_signal)
    began = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="rpdrive-demo-")).resolve()
    others = {k: v for k, v in os.environ.items() if not k.startswith("RPDRIVE_")}
    passphrase = secrets.token_urlsafe(18)  # of this vault alone, and gone with it
    environment = others | {"RPDRIVE_HOME": str(work / "home"), "RPDRIVE_PASSPHRASE": passphrase}
    shell = Shell(command, environment, work)
    code, finished = 1, False
    try:
        say(f"Everything happens in {work}, which goes at the end. RPDRIVE_HOME is a folder in it,")
        say("RPDRIVE_PASSPHRASE is set to a random one.")
        Tour(shell, work, source).run()
        finished, code = True, 0
    finally:
        clean_up(shell, work, quiet=not finished)
    say(f"\n{BOLD}All is as it should be.{PLAIN} {time.monotonic() - began:.0f} seconds.")
    return code


def guarded(run: Callable[[], int]) -> int:
    """Report an error as a message and an exit code."""
    try:
        return run()
    except Failed as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything is removed", file=sys.stderr)
        return 130
    except OSError as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tour of rpdrive on real files.")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT, help=f"what to back up ({DEFAULT})")
    chosen = parser.parse_args().folder
    sys.exit(guarded(lambda: tour(chosen)))

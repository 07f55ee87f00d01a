"""A guest: a Debian of its own under QEMU, without KVM or a network, that runs commands for a test.

    with Guest([Disk(tmp_path / "disk.img", size=1 << 30)], folder=tmp_path) as guest:
        code, text = guest.run("vgs")
        guest.ok("pvcreate /dev/vda")     # must end with 0

A guest that boots from the kit has all tools (LVM, mdadm, cryptsetup, file systems, GRUB), `rpdrive`, Python, and a
root that forgets everything. Disks given to it are /dev/vda, /dev/vdb, … in this order. One that boots from its own
first disk (`boots_from_disk`) answers if its system starts the kit's agent; see install.py.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kit.guest import parts
from tests.kit.guest.parts import GuestFailed

QEMU = "qemu-system-x86_64"
FIRMWARE = Path("/usr/share/OVMF")  # Debian's package `ovmf`
PATIENCE = 240  # seconds for a boot on a busy machine
PIECE = 1 << 20  # bytes of a file that go over at a time


@dataclass(frozen=True)
class Disk:
    """A raw disk in a file; made (sparse, `size` bytes) if it isn't there.

    What is written to one that `forgets` lasts as long as the guest.
    """

    path: Path
    size: int = 0
    serial: str = ""
    is_read_only: bool = False
    forgets: bool = False


class Guest:
    """A running guest. `firmware` is "bios" or "efi" (with its variables in `folder`); killed when it is closed.

    `booted` is how many seconds passed until the agent answered. Raises GuestFailed if it doesn't.
    """

    def __init__(
        self,
        disks: Sequence[Disk | Path] = (),
        *,
        folder: Path,
        memory: int = 1024,
        firmware: str = "bios",
        boots_from_disk: bool = False,
        patience: float = PATIENCE,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.console = folder / "console.log"
        self._disks = [disk if isinstance(disk, Disk) else Disk(disk) for disk in disks]
        self._number = 0
        self._buffer = b""
        # The name of a socket may have 107 bytes; pytest's folders are longer.
        ours, theirs = socket.socketpair()
        self._channel = ours
        command = self._command(memory, firmware, boots_from_disk, theirs.fileno(), arguments)
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()
        try:
            self.wait_ready(patience)
        except BaseException:
            self.close()
            raise
        self.booted = time.monotonic() - self._started

    def _command(
        self, memory: int, firmware: str, boots_from_disk: bool, channel: int, arguments: Sequence[str]
    ) -> list[str]:
        command = [
            "setpriv", "--pdeathsig", "KILL", QEMU, "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1",
            "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-rtc", "base=utc",
            "-serial", f"file:{self.console}", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={channel}",
            "-device", "virtserialport,chardev=agent,name=rpdrive.agent",
        ]  # fmt: skip
        if firmware == "efi":
            variables = self.folder / "efi-variables.img"
            if not variables.exists():
                shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", variables)
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}"]
            command += ["-drive", f"if=pflash,format=raw,file={variables}"]
        disks = list(self._disks)
        disks.append(Disk(parts.packages(), serial="guest-packages", is_read_only=True))
        disks.append(Disk(parts.checkout(), serial="guest-checkout", is_read_only=True))
        if not boots_from_disk:
            base = parts.base()
            initial = self.folder / "initial-disk.img"
            parts.initial_disk(base, initial)
            disks.append(Disk(base.root, serial="guest-root", is_read_only=True))
            words = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
            command += ["-kernel", str(base.kernel), "-initrd", str(initial), "-append", words, "-no-reboot"]
        for number, disk in enumerate(disks):
            if not disk.path.exists():
                with disk.path.open("xb") as file:
                    file.truncate(disk.size)
            path = str(disk.path).replace(",", ",,")
            drive = f"if=none,id=d{number},format=raw,cache=unsafe,discard=unmap,file={path}"
            drive += ",readonly=on" if disk.is_read_only else ""
            drive += ",snapshot=on" if disk.forgets else ""
            device = f"virtio-blk-pci,drive=d{number},serial={disk.serial or f'disk-{number}'}"
            command += ["-drive", drive, "-device", device + (f",bootindex={number}" if boots_from_disk else "")]
        return [*command, *arguments]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, as a power cut does. What was not flushed in the guest is lost: run `sync` before."""
        self._process.kill()
        self._process.communicate()
        self._channel.close()

    def wait_ready(self, patience: float = PATIENCE) -> float:
        """Wait until the agent says that it runs (also after a reboot); seconds since its kernel started."""
        return float(self._receive("ready", time.monotonic() + patience)["ready"])

    def wait_console(self, text: str, patience: float = PATIENCE) -> float:
        """Wait until the console has said this, e.g. "login:"; seconds since the guest was started."""
        until = time.monotonic() + patience
        while text not in (self.console.read_text(errors="replace") if self.console.exists() else ""):
            if time.monotonic() > until or self._process.poll() is not None:
                raise GuestFailed(f"the console did not say {text!r}; {self._said()}")
            time.sleep(0.1)
        return time.monotonic() - self._started

    def run(self, command: str, timeout: float = 300) -> tuple[int, str]:
        """Run a command by bash as root: its exit code (124: took longer than `timeout` seconds) and its output."""
        reply = self._ask(timeout + 60, do="run", command=command, timeout=timeout)
        return reply["code"], base64.b64decode(reply["data"]).decode(errors="replace")

    def ok(self, command: str, timeout: float = 300) -> str:
        """Run a command that must end with 0: its output. Raises GuestFailed."""
        code, text = self.run(command, timeout)
        if code:
            raise GuestFailed(f"`{command}` ended with {code} in the guest:\n{text[-8000:]}")
        return text

    def put(self, data: bytes | Path, path: str) -> None:
        """Write a file in the guest."""
        contents = data.read_bytes() if isinstance(data, Path) else data
        for start in range(0, max(1, len(contents)), PIECE):
            piece = base64.b64encode(contents[start : start + PIECE]).decode()
            self._ask(120, do="write", path=path, data=piece, append=start > 0)

    def get(self, path: str) -> bytes:
        """The contents of a file in the guest."""
        found = b""
        while True:
            reply = self._ask(120, do="read", path=path, offset=len(found), length=PIECE)
            piece = base64.b64decode(reply["data"])
            found += piece
            if len(piece) < PIECE:
                return found

    def power_off(self, command: str = "sync; poweroff", patience: float = 120) -> None:
        """Have it shut down by itself, and wait for the end of QEMU."""
        self.run(f"nohup sh -c 'sleep 1; {command}' >/dev/null 2>&1 &")
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise GuestFailed(f"the guest did not switch off; {self._said()}") from None

    def _said(self) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return f"the last lines of its console ({self.console}):\n{text[-4000:]}"

    def _ask(self, patience: float, **request: Any) -> Any:
        self._number += 1
        line = json.dumps(request | {"id": self._number}).encode() + b"\n"
        self._channel.sendall(line)
        while True:
            reply = self._receive("id", time.monotonic() + patience)
            if reply["id"] != self._number:
                continue  # of a request that was given up
            if "error" in reply:
                raise GuestFailed(f"the guest could not {request['do']}: {reply['error']}")
            return reply

    def _receive(self, word: str, until: float) -> Any:
        """The next message that has this word."""
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # half a line, from before a reboot
                if word in message:
                    return message
            left = until - time.monotonic()
            if left <= 0:
                raise GuestFailed(f"the guest does not answer; {self._said()}")
            if self._process.poll() is not None:
                told = os.read(self._process.stdout.fileno(), 4000) if self._process.stdout else b""
                raise GuestFailed(f"QEMU ended: {told.decode(errors='replace')}; {self._said()}")
            if select.select([self._channel], [], [], min(left, 1.0))[0]:
                self._buffer += self._channel.recv(1 << 20)

"""Runs in a guest: takes commands from the host over a virtio port, one JSON object a line each way.

It has only Python's own library at hand, and no module of rpdrive.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "rpdrive.agent"
PORTS = Path("/sys/class/virtio-ports")
LONGEST = 16 << 20  # bytes of a command's output that are sent back: its end
ENVIRON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}


def find_port() -> Path:
    """The device of our port; waits for it, since its driver may load later."""
    while True:
        for port in PORTS.glob("*"):
            if (port / "name").read_text().strip() == NAME and (Path("/dev") / port.name).exists():
                return Path("/dev") / port.name
        time.sleep(0.1)


def run(command: str, timeout: float) -> tuple[int, bytes]:
    """Run a command by bash: its exit code, and stdout and stderr as one. 124 if it took too long.

    The output goes to a file, so that what the command leaves running in the background holds nothing up.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/root",
            env=ENVIRON, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = 124
        end = output.seek(0, os.SEEK_END)
        output.seek(max(0, end - LONGEST))
        return code, output.read()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "run":
            code, text = run(request["command"], request["timeout"])
            return {"code": code, "data": base64.b64encode(text).decode()}
        case "write":
            with Path(request["path"]).open("ab" if request["append"] else "wb") as file:
                file.write(base64.b64decode(request["data"]))
            return {}
        case "read":
            with Path(request["path"]).open("rb") as file:
                file.seek(request["offset"])
                return {"data": base64.b64encode(file.read(request["length"])).decode()}
        case word:
            return {"error": f"unknown request {word}"}


def send(port: int, value: dict[str, Any]) -> None:
    line = json.dumps(value).encode() + b"\n"
    while line:
        line = line[os.write(port, line) :]


def main() -> None:
    port = os.open(find_port(), os.O_RDWR | os.O_CLOEXEC)
    send(port, {"ready": float(Path("/proc/uptime").read_text().split()[0])})
    waiting = b""
    while True:
        data = os.read(port, 1 << 20)
        if not data:  # the host isn't connected
            time.sleep(0.1)
            continue
        waiting += data
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            request = json.loads(line)
            try:
                reply = answer(request)
            except OSError as error:
                reply = {"error": str(error)}
            send(port, reply | {"id": request["id"]})


if __name__ == "__main__":
    main()

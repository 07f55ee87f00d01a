"""Several threads decode records for the first time at once, in a process of their own, as it could crash."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import random, sys, threading, time
import msgspec
from catalog.format.message import Id, Whole
from catalog.format.records import decode_record

sys.setswitchinterval(1e-6)
for _ in range(200):
    fields = [(f"f{n}", Id if n % 2 else list[Whole]) for n in range(30)]
    cls = msgspec.defstruct("Record", fields, kw_only=True)
    data = msgspec.msgpack.encode({name: [1] if n % 2 == 0 else bytes(16) for n, (name, _) in enumerate(fields)})
    barrier = threading.Barrier(4)

    def read(number):
        barrier.wait()
        time.sleep(number * random.random() * 0.0003)
        assert decode_record(cls, data, "a record").f0 == [1]

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
print("all read")
"""


def test_first_decoded_by_many_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all read\n", "")

"""Runs a program that is not told of changes of the network: `python steady_network.py PROGRAM ARGUMENT...`.

When an address of the machine changes, Chromium ends all its requests, also those to this machine. Other tests make
networks meanwhile. Linux tells of changes by netlink sockets, and seccomp refuses these to the program.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from contextlib import suppress

SYSTEMS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_*, the number of socket()
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # prctl(2)
MODE_FILTER, ALLOW, ERRNO = 2, 0x7FFF0000, 0x00050000  # seccomp(2)
LOAD, EQUAL, RETURN = (
    0x20,
    0x15,
    0x06,
)  # linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_netlink() -> None:
    """Have socket(AF_NETLINK, ...) fail here, and in what is started from here. Raises OSError."""
    architecture, number = SYSTEMS[platform.machine()]
    # struct seccomp_data: number of the call, architecture, address, arguments
    instructions = [
        (LOAD, 0, 0, 4), (EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, 0), (EQUAL, 0, 3, number),
        (LOAD, 0, 0, 16), (EQUAL, 0, 1, socket.AF_NETLINK),
        (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(instructions), code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    if platform.machine() in SYSTEMS:
        with suppress(OSError):  # a container may forbid it: then the network had better not change
            refuse_netlink()
    os.execv(sys.argv[1], sys.argv[1:])

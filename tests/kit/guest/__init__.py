"""Guests: whole machines under QEMU, for what needs a kernel, disks or a boot loader of its own."""

from tests.kit.guest.machine import Disk, Guest
from tests.kit.guest.parts import GuestFailed

__all__ = ["Disk", "Guest", "GuestFailed"]

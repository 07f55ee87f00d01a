"""What the codes of the Volume Shadow Copy Service and of WMI mean, and what to do about them.

Sources: vsserror.h; the page of the method Create of Win32_ShadowCopy. The words are for people who are new to VSS.
"""

from __future__ import annotations

from typing import NamedTuple

IN_PROGRESS = 0x80042316
NOT_FOUND = 0x80042308
NOT_SUPPORTED = 0x8004230C
TIMED_OUT = 0x80042391  # ours: no answer within --snapshot-timeout
STOPPED = 0x80042392  # ours: the backup ended meanwhile

_LOOK = "see the log Application in the Event Viewer, sources VSS and volsnap, and `vssadmin list writers`"
_AGAIN = "try again at a quieter time; a second backup program must not run at the same time"
_SPACE = (
    "give it room: `vssadmin list shadowstorage`, then `vssadmin resize shadowstorage /for=C: /on=C: /maxsize=10%`"
)
_RIGHTS = "run rpdrive in a prompt that was opened with 'Run as administrator', or as SYSTEM"


class Meaning(NamedTuple):
    """What happened, and what to do next."""

    text: str
    advice: str


CODES: dict[int, Meaning] = {
    0x80070005: Meaning("access is denied", _RIGHTS),
    0x8007000E: Meaning("Windows is out of memory", "close programs, then try again"),
    0x80070057: Meaning("Windows did not take an argument", "please report it"),
    0x80070422: Meaning(
        "the service Volume Shadow Copy is disabled", "set it to Manual: `sc config vss start= demand`"
    ),
    0x80040154: Meaning("the classes of VSS are not registered", _LOOK),
    0x80010119: Meaning("another library was first to set the security of COM", "please report it"),
    0x800706BA: Meaning("the service Volume Shadow Copy does not answer", _LOOK),
    0x80042301: Meaning("the service was called in the wrong order", "please report it"),
    0x80042302: Meaning("the service failed in a way that it has no name for", _LOOK),
    0x80042304: Meaning(
        "the provider of shadow copies is not registered", "`vssadmin list providers` shows those that are"
    ),
    0x80042306: Meaning(
        "the provider of shadow copies refused", f"{_LOOK}; often its storage is full or the disk is failing"
    ),
    NOT_FOUND: Meaning(
        "the shadow copy is gone", f"Windows deletes shadow copies when their storage is full; {_SPACE}"
    ),
    NOT_SUPPORTED: Meaning(
        "the volume can't have shadow copies",
        "only NTFS and ReFS volumes of local disks can; use --snapshot never for it",
    ),
    0x8004230D: Meaning("there is such an object already", _LOOK),
    0x8004230E: Meaning("the provider can't make shadow copies of this volume", "use --snapshot never for it"),
    0x8004230F: Meaning("the provider of shadow copies failed", _LOOK),
    0x80042312: Meaning("there are too many volumes in one set", "back up fewer volumes as one item, at most 64"),
    IN_PROGRESS: Meaning(
        "another program is making a shadow copy", "wait until its backup has ended, then try again"
    ),
    0x80042313: Meaning("the volume's writes could not be flushed in time", _AGAIN),
    0x80042314: Meaning("the volume's writes could not be held for long enough", _AGAIN),
    0x80042317: Meaning(
        "the volume has as many shadow copies as it may have",
        "list them with `vssadmin list shadows`, delete those that nobody needs",
    ),
    0x80042318: Meaning("programs that prepare for shadow copies can't be reached", _LOOK),
    0x8004231B: Meaning("a writer has the same name as another", _LOOK),
    0x8004231D: Meaning("one of the volumes can't be found", "check that its disk is there"),
    0x8004231F: Meaning("there is no room for the shadow copy", _SPACE),
    0x80042320: Meaning("the set of shadow copies is not complete", _LOOK),
    0x80042321: Meaning("some shadow copies could not be made", _LOOK),
    0x80042325: Meaning("the volume is being reverted to a shadow copy", "wait until that has ended"),
    0x80042326: Meaning("the cluster refused", "run the backup on the node that owns the volume"),
    TIMED_OUT: Meaning("Windows did not answer in time", f"{_AGAIN}; --snapshot-timeout gives it longer"),
    STOPPED: Meaning("the backup was stopped meanwhile", "run it again"),
    0x800423F0: Meaning("a writer says that the shadow copy has only a part of what it needs", _LOOK),
    0x800423F1: Meaning("a writer has no memory or disk space left", "free some, then try again"),
    0x800423F2: Meaning("a writer was not ready in time", _AGAIN),
    0x800423F3: Meaning("a writer failed, but may be ready next time", "try again"),
    0x800423F4: Meaning("a writer failed, and will fail again", f"restart its service; {_LOOK}"),
    0x800423F5: Meaning("a writer does not answer", f"restart its service; {_LOOK}"),
    0x80042409: Meaning("a writer reported a failure of its own", _LOOK),
}

# ReturnValue of Win32_ShadowCopy.Create.
WMI: dict[int, Meaning] = {
    1: CODES[0x80070005],
    2: CODES[0x80070057],
    3: CODES[0x8004231D],
    4: CODES[NOT_SUPPORTED],
    5: Meaning("Windows does not have this kind of shadow copy", "use --snapshot-provider vss"),
    6: CODES[0x8004231F],
    7: Meaning("the volume is in use", _AGAIN),
    8: CODES[0x80042317],
    9: CODES[IN_PROGRESS],
    10: CODES[0x80042306],
    11: CODES[0x80042304],
    12: CODES[0x8004230F],
}


def meaning(code: int) -> Meaning:
    """The meaning of an HRESULT, with its number."""
    found = CODES.get(code) or Meaning("the service failed", _LOOK)
    ours = code in (TIMED_OUT, STOPPED)
    return found if ours else Meaning(f"{found.text} (0x{code:08X})", found.advice)


def wmi_meaning(code: int) -> Meaning:
    """The meaning of what Win32_ShadowCopy.Create returned."""
    found = WMI.get(code) or Meaning("WMI failed", _LOOK)
    return Meaning(f"{found.text} (WMI {code})", found.advice)

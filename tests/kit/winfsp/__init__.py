"""WinFsp for tests on Linux: winfspy's own Python over a stand-in for its DLL, and a caller in place of Windows.

    from tests.kit.winfsp.wheel import load     # winfspy, from the wheel that tests/setup.sh unpacks
    load()                                  # before anything that imports winfspy
    from tests.kit.winfsp.caller import Caller
    from tests.kit.winfsp import standin

    drive.start()                           # whatever calls winfspy.FileSystem(...).start()
    caller = Caller(standin.volume_at("R:"))
    caller.list("\\"), caller.read("\\file"), caller.stat("\\folder") ...
    assert not standin.faults

`layout` has the structs, `bindings` winfspy's ffi and lib, `standin` and what it imports the functions, `volume`
the queue and the dispatcher; `caller`, `opening`, `access`, `handle` and `listing` are the kernel's driver and the
DLL's part before each operation, `security` knows descriptors, `bridge` mounts on Linux. Only for tests: nothing of
the product imports this.

The tests of drives run on it, too: a module with `WINFSP_TOO = True` gets the driver `winfsp` besides the others
(see tests/conftest.py), but for tests marked `posix`. rpdrive's processes then take `site/sitecustomize.py` from
PYTHONPATH, which gives them the stand-in and a drive (`bridged`) that mounts the bridge.

What is real: winfspy's Python, memfs too, unchanged; cffi's conversions; the layout of every struct and the
type of every function (held against the wheel's own binary); the order, arguments and buffer sizes of calls,
read off WinFsp 2's sources. Of the functions that the wheel has, those for services, POSIX paths and ids,
extended attributes and event logs are not here.

What this cannot show, and only a Windows machine can:

- The kernel: its cache and read-ahead (here every read goes to the file system, whole pages where the kernel
  would cache), its caches of file information and security, of listings for all handles of a folder,
  memory-mapped files and programs run from the drive, oplocks, share modes, byte-range locks, change
  notifications, file nodes shared by handles except for their contexts.
- Win32 above it: `\\?\\` and long paths, 8.3 names, drive letters of sessions and services, the mount manager,
  UNC paths and the redirector's own caches, Explorer's previews and icons, what antivirus filters ask for,
  `dir`, robocopy.
- The IRP queue's timing: the number of threads is WinFsp's, but they are Python's, and time-outs are not
  rounded.
- Windows' upper-casing (`str.upper` stands for it), its full check of access (integrity, privileges,
  conditional ACEs).
- Whether the DLL is found, its version and signature, installing and removing; cffi's own binary in the wheel.
- Guarding memory: what is seen is copying by ffi.memmove and a page after a read's buffer.
"""

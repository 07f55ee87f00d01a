"""The stand-in's types and functions are those of winfspy's binary: its own tables, in the wheel, say so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.winfsp.binary import Binary
from tests.kit.winfsp.bindings import lib
from tests.kit.winfsp.layout import types
from tests.kit.winfsp.status import Status
from tests.kit.winfsp.wheel import load

# Not in WinFsp's documents as numbers to rely on, but as its headers assert them.
DOCUMENTED = {
    "FSP_FSCTL_VOLUME_PARAMS": 504,
    "FSP_FSCTL_VOLUME_INFO": 88,
    "FSP_FSCTL_FILE_INFO": 72,
    "FSP_FSCTL_DIR_INFO": 104,
    "FSP_FSCTL_STREAM_INFO": 24,
    "FSP_FSCTL_TRANSACT_REQ": 88,
    "FSP_FSCTL_TRANSACT_RSP": 128,
    "FSP_FILE_SYSTEM": 792,
    "FSP_FILE_SYSTEM_INTERFACE": 64 * 8,
}


@pytest.fixture(scope="module")
def binary() -> Binary:
    load()
    return Binary.of_wheel()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_sizes_are_the_documented_ones(name: str) -> None:
    assert types.sizeof(name) == DOCUMENTED[name]


def test_every_struct_is_laid_out_as_in_the_wheel(binary: Binary) -> None:
    compared = set()
    for name, struct in binary.structs.items():
        if name in ("CRITICAL_SECTION", "SERVICE_STATUS", "FSP_SERVICE"):
            continue  # of services, which nothing here is
        assert types.sizeof(name) == struct.size, name
        ours = {field: what for field, what in types.typeof(name).fields if not field.startswith("_")}
        assert {field: what.offset for field, what in ours.items()} == {
            field: offset for field, (offset, _size) in struct.fields.items()
        }, name
        for field, (_offset, size) in struct.fields.items():
            if size is not None:
                assert types.sizeof(ours[field].type) == size, f"{name}.{field}"
        compared.add(name)
    assert compared >= set(DOCUMENTED)


def described(kind: Any) -> str:
    """A type of ours in the words of Binary."""
    if kind.kind == "primitive":
        if kind.cname == "char16_t":
            return "w"
        signed = kind.cname.startswith(("int", "ssize", "char", "signed", "short", "long"))
        return ("c" if kind.cname == "char" else "i" if signed else "u") + str(types.sizeof(kind))
    if kind.kind == "pointer":
        return "*" + described(kind.item)
    if kind.kind == "function":
        # What cffi calls a function is a pointer to one: `*` only where it is an argument.
        arguments = ("*" * (argument.kind == "function") + described(argument) for argument in kind.args)
        return f"{described(kind.result)}({', '.join(arguments)})"
    return str(kind.cname).removeprefix("struct ").lstrip("_")


def test_every_function_has_the_type_that_it_has_in_the_wheel(binary: Binary) -> None:
    ours = {
        name: described(types.typeof(value))
        for name, value in vars(lib).items()
        if isinstance(value, types.CData) and types.typeof(value).kind == "function"
    }
    assert len(ours) > 60
    assert ours == {name: binary.functions[name] for name in ours}


def test_nothing_is_offered_that_the_wheel_lacks(binary: Binary) -> None:
    offered = {name for name in (*vars(lib), *vars(type(lib))) if not name.startswith("__")}
    assert len(offered) > 90
    assert not [name for name in offered if name not in binary.names]


def test_all_that_winfspy_itself_calls_is_offered(binary: Binary) -> None:
    load()
    wanted = {name for name in binary.names if name.startswith(("_trampolin_fs_", "WFSPY_"))}
    assert len(wanted) > 50
    assert not [name for name in wanted if not hasattr(lib, name)]


def test_status_codes_are_windows_own() -> None:
    load()
    from winfspy.plumbing import NTSTATUS

    theirs = {name.removeprefix("STATUS_"): code for name, code in NTSTATUS.__members__.items()}
    assert {status.name: status.value for status in Status if theirs.get(status.name) != status} == {}

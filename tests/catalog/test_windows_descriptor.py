"""SIDs and security descriptors: examples published by Microsoft, and random input."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.errors import Damaged, UsageError
from catalog.windows import sid
from catalog.windows.descriptor import Ace, Acl, Descriptor, build, from_sddl, mode, parse, synthesised, to_sddl
from tests.kit.format_values import MANY

# [MS-DTYP] 2.5.1.4, "SDDL String to Binary Security Descriptor Examples".
PUBLISHED = "O:BAG:BAD:P(A;CIOI;GRGX;;;BU)(A;CIOI;GA;;;BA)(A;CIOI;GA;;;SY)(A;CIOI;GA;;;CO)S:P(AU;FA;GR;;;WD)"
PUBLISHED_BYTES = bytes.fromhex("""
    01 00 14 b0 90 00 00 00 a0 00 00 00 14 00 00 00 30 00 00 00 02 00 1c 00 01 00 00 00 02 80 14 00
    00 00 00 80 01 01 00 00 00 00 00 01 00 00 00 00 02 00 60 00 04 00 00 00 00 03 18 00 00 00 00 a0
    01 02 00 00 00 00 00 05 20 00 00 00 21 02 00 00 00 03 18 00 00 00 00 10 01 02 00 00 00 00 00 05
    20 00 00 00 20 02 00 00 00 03 14 00 00 00 00 10 01 01 00 00 00 00 00 05 12 00 00 00 00 03 14 00
    00 00 00 10 01 01 00 00 00 00 00 03 00 00 00 00 01 02 00 00 00 00 00 05 20 00 00 00 20 02 00 00
    01 02 00 00 00 00 00 05 20 00 00 00 20 02 00 00
""")
# "Security Descriptor String Format" (win32/secauthz): two strings and their contents, in its domain.
DOMAIN = "S-1-5-21-397955417-626881126-188441444"
FIRST = "O:AOG:DAD:(A;;RPWPCCDCLCSWRCWDWOGA;;;S-1-0-0)"
SECOND = """O:DAG:DAD:(A;;RPWPCCDCLCRCWOWDSDSW;;;SY)
(A;;RPWPCCDCLCRCWOWDSDSW;;;DA)
(OA;;CCDC;bf967aba-0de6-11d0-a285-00aa003049e2;;AO)
(OA;;CCDC;bf967a9c-0de6-11d0-a285-00aa003049e2;;AO)
(OA;;CCDC;6da8a4ff-0e52-11d0-a286-00aa003049e2;;AO)
(OA;;CCDC;bf967aa8-0de6-11d0-a285-00aa003049e2;;PO)
(A;;RPLCRC;;;AU)S:(AU;SAFA;WDWOSDWPCCDCSW;;;WD)"""


def test_the_published_descriptor_to_the_byte() -> None:
    assert from_sddl(PUBLISHED) == PUBLISHED_BYTES
    assert build(parse(PUBLISHED_BYTES)) == PUBLISHED_BYTES
    # Windows itself puts flags and rights in the order of their bits.
    spelled = PUBLISHED.replace("CIOI", "OICI").replace("GRGX", "GXGR")
    assert to_sddl(PUBLISHED_BYTES) == spelled
    assert from_sddl(spelled) == PUBLISHED_BYTES


def test_the_first_published_string() -> None:
    d = parse(from_sddl(FIRST, DOMAIN))
    assert d.control == 0x8004
    assert (d.owner, d.group) == ("S-1-5-32-548", DOMAIN + "-512")
    assert d.dacl == Acl(2, [Ace(0, 0, 0x100E003F, "S-1-0-0")])
    assert d.sacl is None
    data = from_sddl(FIRST, DOMAIN)
    assert data[20:28] == bytes.fromhex("0200 1c00 0100 0000"), "revision 2, 0x1c bytes, one entry"
    assert data[28:32] == bytes.fromhex("00 00 1400"), "an entry of 0x14 bytes"


def test_the_second_published_string() -> None:
    data = from_sddl(SECOND, DOMAIN)
    d = parse(data)
    assert d.control == 0x8014
    assert (d.owner, d.group) == (DOMAIN + "-512", DOMAIN + "-512")
    assert d.dacl is not None and d.sacl is not None
    assert data.find(bytes.fromhex("0400 0401 0700 0000")) > 0, "revision 4, 0x104 bytes, seven entries"
    assert [(a.type, a.flags, a.mask, a.sid) for a in d.dacl.entries] == [
        (0, 0, 0xF003F, "S-1-5-18"),
        (0, 0, 0xF003F, DOMAIN + "-512"),
        (5, 0, 3, "S-1-5-32-548"),
        (5, 0, 3, "S-1-5-32-548"),
        (5, 0, 3, "S-1-5-32-548"),
        (5, 0, 3, "S-1-5-32-550"),
        (0, 0, 0x20014, "S-1-5-11"),
    ]
    assert d.dacl.entries[2].object == bytes.fromhex("ba7a96bf e60d d011 a285 00aa003049e2")
    assert d.sacl == Acl(2, [Ace(2, 0xC0, 0xD002B, "S-1-1-0")])
    assert from_sddl(to_sddl(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        # C:\ of a new Windows, a system service, a shared folder: as Windows shows them.
        "D:PAI(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;BU)(A;OICIIO;SDGXGWGR;;;AU)(A;;LC;;;AU)",
        "D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)S:(AU;FA;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;WD)",
        "D:AI(D;OICI;FA;;;BG)(A;;FA;;;BA)(A;OICIID;FA;;;BA)(A;OICIIOID;GA;;;CO)(A;CIID;LC;;;BU)(A;CIID;DC;;;BU)",
        "O:SYG:SYD:NO_ACCESS_CONTROL",
        "O:BAD:PAR",
        "S:AI(ML;;NW;;;LW)",
        "O:S-1-5-21-1-2-3-1001G:S-1-5-21-1-2-3-513D:P",
        "D:(A;;FR;;;WD)(A;;FW;;;WD)(A;;FX;;;WD)",
        "",
    ],
)
def test_text_as_windows_has_it_comes_back(text: str) -> None:
    assert to_sddl(from_sddl(text)) == text


def test_a_list_that_is_not_there_is_not_an_empty_one() -> None:
    everybody, nobody, none = (parse(from_sddl(t)) for t in ("D:NO_ACCESS_CONTROL", "D:", ""))
    assert (everybody.dacl, everybody.control & 4) == (None, 4)
    assert (nobody.dacl, nobody.control & 4) == (Acl(2, []), 4)
    assert (none.dacl, none.control & 4) == (None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "x", "O:XX", "O:BAO:BA", "O:DA", "O:S-2-5-18", "O:S-1-5-4294967296", "D:(A;;FA;;;BA", "D:(A;;FA;;BA)",
        "D:(QQ;;FA;;;BA)", "D:(A;QQ;FA;;;BA)", "D:(A;;Q;;;BA)", "D:(A;;0x100000000;;;BA)", "D:(A;;0xg;;;BA)",
        "D:(A;;FA;bf967aba-0de6-11d0-a285-00aa003049e2;;BA)", "D:(OA;;FA;bf967aba;;BA)", "D:PX", "D:P(A;;FA;;;BA)x",
        "D:NO_ACCESS_CONTROL(A;;FA;;;BA)", "O:S-1-05-18", "O:S-1-5-" + "-".join(["1"] * 16), "O:",
    ],
)  # fmt: skip
def test_text_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        from_sddl(text)


# --- SIDs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("S-1-5-32-544", "0102 000000000005 20000000 20020000"),
        ("S-1-5-18", "0101 000000000005 12000000"),
        ("S-1-5", "0100 000000000005"),
        ("S-1-4294967295-7", "0101 0000ffffffff 07000000"),
        ("S-1-0x000100000000-7", "0101 000100000000 07000000"),  # from 2^32 on in hexadecimal
    ],
)
def test_sids(text: str, data: str) -> None:
    assert sid.to_bytes(text) == bytes.fromhex(data)
    assert sid.take(b"??" + bytes.fromhex(data) + b"?", 2) == (text, len(bytes.fromhex(data)))


def test_letters_of_sids_are_each_others_reverse() -> None:
    assert len(set(sid.ALIASES.values())) == len(sid.ALIASES)
    for letters, text in sid.ALIASES.items():
        assert sid.letters(text) == letters
        assert sid.from_letters(letters.lower()) == text == sid.take(sid.to_bytes(text))[0]


# --- anything at all ------------------------------------------------------------------------------------------

authorities = st.integers(0, 2**48 - 1).map(lambda n: str(n) if n < 2**32 else f"0x{n:012x}")
sids = st.builds(
    lambda first, rest: "-".join(("S-1", first, *map(str, rest))),
    authorities,
    st.lists(st.integers(0, 2**32 - 1), max_size=15),
)
masks = st.integers(0, 2**32 - 1)
guids = st.just(b"") | st.binary(min_size=16, max_size=16)
aces = st.one_of(
    st.tuples(st.sampled_from((0, 1, 2, 3, 0x11, 0x13)), st.integers(0, 255), masks, sids).map(lambda r: Ace(*r)),
    st.tuples(st.sampled_from((5, 6, 7, 8)), st.integers(0, 255), masks, sids, guids, guids).map(lambda r: Ace(*r)),
    st.builds(
        lambda kind, flags, body: Ace(kind, flags, 0, "", body=body),
        st.sampled_from((9, 0x12, 0xFF)), st.integers(0, 255), st.binary(max_size=40),
    ),
)  # fmt: skip
acls = st.none() | st.builds(Acl, st.sampled_from((2, 4)), st.lists(aces, max_size=6))


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    dacl, sacl = draw(acls), draw(acls)
    control = 0x8000 | draw(st.integers(0, 0x7FFF)) | (4 if dacl else 0) | (0x10 if sacl else 0)
    return Descriptor(control, draw(st.just("") | sids), draw(st.just("") | sids), dacl, sacl)


@MANY
@given(descriptors())
def test_every_descriptor_comes_back(d: Descriptor) -> None:
    assert parse(build(d)) == d


@MANY
@given(descriptors())
def test_every_text_comes_back(d: Descriptor) -> None:
    data = build(d)
    try:
        text = to_sddl(data)
    except UsageError:
        return
    again = parse(from_sddl(text))
    assert (again.owner, again.group) == (d.owner, d.group)
    assert to_sddl(from_sddl(text)) == text
    for mine, theirs in ((d.dacl, again.dacl), (d.sacl, again.sacl)):
        if mine is not None:
            assert theirs is not None and theirs.entries == mine.entries


@MANY
@given(st.binary(max_size=300))
@example(b"")
@example(PUBLISHED_BYTES[:-1])
def test_no_bytes_do_harm(data: bytes) -> None:
    for function in (parse, to_sddl):
        try:
            function(data)
        except (Damaged, UsageError):
            pass
    mode(data, 0)


@MANY
@given(st.integers(0, len(PUBLISHED_BYTES) - 1), st.integers(1, 255), st.integers(0, len(PUBLISHED_BYTES)))
def test_no_change_of_a_descriptor_does_harm(at: int, bits: int, end: int) -> None:
    data = (PUBLISHED_BYTES[:at] + bytes([PUBLISHED_BYTES[at] ^ bits]) + PUBLISHED_BYTES[at + 1 :])[:end]
    try:
        build(parse(data))
        to_sddl(data)
    except (Damaged, UsageError):
        pass


@MANY
@given(st.text(st.sampled_from("OGDS:()APFRX;0x1-5 BAWDé"), max_size=60))
def test_no_text_does_harm(text: str) -> None:
    try:
        parse(from_sddl(text))
    except UsageError:
        pass


# --- other systems --------------------------------------------------------------------------------------------

ME = "S-1-5-21-1-2-3-1001"


@pytest.mark.parametrize("folder", [False, True])
def test_what_another_system_made_can_be_read_by_the_user_and_administrators(folder: bool) -> None:
    d = parse(synthesised(ME, folder=folder))
    assert d.owner == d.group == ME
    assert d.control & 0x1000, "nothing is inherited"
    assert d.dacl is not None
    assert [(a.type, a.mask, a.sid) for a in d.dacl.entries] == [(0, 0x1200A9, ME), (0, 0x1200A9, "S-1-5-32-544")]
    assert len(parse(synthesised("S-1-5-32-544", folder=folder)).dacl.entries) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "attributes", "bits"),
    [
        ("D:(A;;FA;;;BA)(A;;0x1200a9;;;BU)", 0x20, 0o644),
        ("D:(A;;FA;;;BA)(A;;0x1200a9;;;BU)", 0x21, 0o444),
        ("D:(A;;FA;;;BA)(A;;0x1200a9;;;BU)", 0x10, 0o755),
        ("D:(A;;FA;;;BA)(A;;0x1200a9;;;BU)", 0x11, 0o755),  # on a folder, read-only has another meaning
        ("D:(A;;FR;;;BU)", 0x10, 0o700),  # can be listed, but not entered
        ("D:(A;;FR;;;BU)(A;;FX;;;WD)", 0x10, 0o755),
        ("D:(A;;GRGX;;;AU)", 0x10, 0o755),
        ("D:(A;OICIIO;FA;;;WD)", 0x10, 0o700),  # applies only to its contents
        ("D:(D;;FR;;;WD)(A;;FA;;;WD)", 0x20, 0o600),
        ("D:(A;;FA;;;WD)(D;;FR;;;WD)", 0x20, 0o644),  # the first entry about a right decides
        ("D:(D;;FW;;;WD)(A;;FR;;;WD)", 0x20, 0o644),
        ("D:(A;;FA;;;BA)(A;;FA;;;SY)(A;;FA;;;S-1-5-21-1-2-3-1001)", 0x20, 0o600),
        ("D:", 0x20, 0o600),
        ("D:NO_ACCESS_CONTROL", 0x20, 0o644),
        ("O:BA", 0x20, 0o644),
    ],
)
def test_modes(text: str, attributes: int, bits: int) -> None:
    assert oct(mode(from_sddl(text), attributes)) == oct(bits)


def test_a_descriptor_that_says_nothing_opens_nothing() -> None:
    assert mode(None, 0x20) == 0o600
    assert mode(b"garbage", 0x20) == 0o600
    assert mode(None, 0x10) == 0o700

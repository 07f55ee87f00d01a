"""A link to contents opens what it names, for its session and its time, and nothing when a bit of it differs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import NotFound, UsageError
from mount.browse.guard.capabilities import BEGIN_SECONDS, Capabilities, Wanted
from mount.browse.guard.sessions import SESSION_SECONDS, PageSession, Sessions
from tests.browse.guard.test_sessions import Clock

WANTED = Wanted([("ab" * 16, b"/a/\xff")], "inline")


class Desk:
    """Sessions and capabilities with one clock, and a session."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock)
        self.capabilities = Capabilities(self.sessions, self.clock)
        self.session = self.enter()

    def enter(self) -> PageSession:
        return self.sessions.enter(self.sessions.new_token())[0]

    def link(self) -> str:
        return self.capabilities.sign(WANTED, self.session.id)


def test_a_link_leads_to_what_it_was_made_for() -> None:
    desk = Desk()
    found = desk.capabilities.check(desk.link())
    assert (found.places, found.what, found.session) == (WANTED.places, "inline", desk.session.id)
    assert desk.capabilities.lives(found)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_link_opens_anything(data: st.DataObject) -> None:
    desk = Desk()
    link = desk.link()
    i = data.draw(st.integers(0, len(link) - 1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x00é"
    changed = link[:i] + data.draw(st.sampled_from(alphabet)) + link[i + 1 :]
    if changed != link:
        with pytest.raises(NotFound):
            desk.capabilities.check(changed)


@pytest.mark.parametrize("text", ["", ".", "x", "x.y", "..", "a" * 200_000, "é.é", "\udcff.x", "=.=", "AAAA."])
def test_nonsense_opens_nothing(text: str) -> None:
    with pytest.raises(NotFound):
        Desk().capabilities.check(text)


def test_a_link_of_another_process_opens_nothing() -> None:
    with pytest.raises(NotFound, match="not made by the page that runs now"):
        Desk().capabilities.check(Desk().link())


def test_a_payload_of_one_link_does_not_fit_the_seal_of_another() -> None:
    desk = Desk()
    one = desk.capabilities.sign(WANTED, desk.session.id).split(".")
    other = desk.capabilities.sign(Wanted([("cd" * 16, b"/b")], "tar"), desk.session.id).split(".")
    for text in (f"{one[0]}.{other[1]}", f"{other[0]}.{one[1]}", one[0], f"{one[0]}.", f".{one[1]}"):
        with pytest.raises(NotFound):
            desk.capabilities.check(text)


def test_a_link_must_be_used_within_an_hour_and_a_download_that_began_goes_on() -> None:
    desk = Desk()
    used, unused = desk.link(), desk.capabilities.sign(Wanted([], "tar"), desk.session.id)
    desk.clock.now += BEGIN_SECONDS
    desk.capabilities.check(used)
    desk.clock.now += 1
    with pytest.raises(NotFound, match="too old"):
        desk.capabilities.check(unused)
    desk.clock.now += 5 * 3600
    desk.capabilities.check(used)
    desk.clock.now += SESSION_SECONDS
    with pytest.raises(NotFound, match="session of this link has ended"):
        desk.capabilities.check(used)


def test_links_end_with_their_session_and_only_with_theirs() -> None:
    desk = Desk()
    mine, other = desk.link(), desk.capabilities.sign(WANTED, desk.enter().id)
    found = desk.capabilities.check(mine)
    desk.sessions.end(desk.session)
    with pytest.raises(NotFound, match="session of this link has ended"):
        desk.capabilities.check(mine)
    assert not desk.capabilities.lives(found)
    desk.capabilities.check(other)


def test_a_link_has_a_longest_length() -> None:
    desk = Desk()
    desk.capabilities.check(
        desk.capabilities.sign(Wanted([("ab" * 16, b"/" + b"x" * 65_000)], "inline"), desk.session.id)
    )
    with pytest.raises(UsageError, match="so many places"):
        desk.capabilities.sign(Wanted([("ab" * 16, b"/" + b"x" * 80_000)], "tar"), desk.session.id)

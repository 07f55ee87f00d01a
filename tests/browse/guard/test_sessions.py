"""A link works once and for two minutes; a session ends by time, by order and by number."""

from __future__ import annotations

import threading

import pytest

from mount.browse.guard.sessions import (
    BAD_TOKENS,
    MOST_SESSIONS,
    MOST_TOKENS,
    SESSION_SECONDS,
    SHORTEST,
    TOKEN_SECONDS,
    BadToken,
    PageSession,
    Sessions,
    TooManyBadTokens,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def entered(sessions: Sessions) -> tuple[PageSession, str]:
    session, cookie = sessions.enter(sessions.new_token())
    assert cookie is not None
    return session, cookie


def test_a_token_has_128_bits_and_works_once(sessions: Sessions) -> None:
    token = sessions.new_token()
    assert len(token) == 22
    session, cookie = sessions.enter(token)
    assert cookie is not None and sessions.of([cookie]) is session
    with pytest.raises(BadToken):
        sessions.enter(token)


def test_a_token_works_for_two_minutes(sessions: Sessions, clock: Clock) -> None:
    first, second = sessions.new_token(), sessions.new_token()
    clock.now += TOKEN_SECONDS - 1
    sessions.enter(first)
    clock.now += 1
    with pytest.raises(BadToken):
        sessions.enter(second)


def test_two_browsers_cannot_share_a_token(sessions: Sessions) -> None:
    token, got = sessions.new_token(), []
    barrier = threading.Barrier(8)

    def enter() -> None:
        barrier.wait()
        try:
            got.append(sessions.enter(token)[1])
        except BadToken:
            pass

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_session_ends_after_twelve_hours_and_not_before(sessions: Sessions, clock: Clock) -> None:
    session, cookie = entered(sessions)
    clock.now += SESSION_SECONDS - 1
    assert sessions.of([cookie]) is session and sessions.is_open(session.id)
    clock.now += 1
    assert sessions.of([cookie]) is None and not sessions.is_open(session.id)
    assert len(sessions) == 0


def test_a_new_link_in_the_same_browser_keeps_its_session(sessions: Sessions, clock: Clock) -> None:
    session, cookie = entered(sessions)
    clock.now += SESSION_SECONDS - 1
    assert sessions.enter(sessions.new_token(), ["x", cookie]) == (session, None)
    clock.now += SESSION_SECONDS - 1
    assert sessions.of([cookie]) is session


def test_an_ended_session_is_gone_and_others_stay(sessions: Sessions) -> None:
    (first, cookie), (other, others) = entered(sessions), entered(sessions)
    sessions.end(first)
    sessions.end(first)
    assert sessions.of([cookie]) is None and sessions.with_id(first.id) is None
    assert sessions.of([others]) is other


def test_a_cookie_of_another_port_does_not_hide_ours(sessions: Sessions) -> None:
    session, cookie = entered(sessions)
    assert sessions.of(["planted", "", "x" * 10_000, cookie]) is session
    assert sessions.of(["planted", cookie + "x", session.id, "ä", "\udcff"]) is None
    assert sessions.of([]) is None


def test_the_number_of_sessions_and_links_is_bounded(sessions: Sessions) -> None:
    (_first, oldest), (_second, used) = entered(sessions), entered(sessions)
    for _ in range(MOST_SESSIONS - 1):
        sessions.of([used])
        entered(sessions)
    assert len(sessions) == MOST_SESSIONS
    assert sessions.of([oldest]) is None and sessions.of([used]) is not None
    early = sessions.new_token()
    late = [sessions.new_token() for _ in range(MOST_TOKENS)]
    with pytest.raises(BadToken):
        sessions.enter(early)
    for token in late:
        sessions.enter(token)


def test_wrong_tokens_are_answered_ten_times_and_then_once_a_second(sessions: Sessions, clock: Clock) -> None:
    good = sessions.new_token()
    for _ in range(BAD_TOKENS):
        with pytest.raises(BadToken):
            sessions.enter("wrong")
    for token in (good, "wrong", good):  # the answer says nothing of the token
        with pytest.raises(TooManyBadTokens):
            sessions.enter(token)
    clock.now += 1
    with pytest.raises(BadToken):
        sessions.enter("wrong")
    with pytest.raises(TooManyBadTokens):
        sessions.enter(good)
    clock.now += 1
    sessions.enter(good)
    clock.now += 3600
    for _ in range(BAD_TOKENS):  # never more at once
        with pytest.raises(BadToken):
            sessions.enter("x" * 100_000)
    with pytest.raises(TooManyBadTokens):
        sessions.enter("wrong")


def test_nothing_kept_has_a_token_or_a_cookie(sessions: Sessions) -> None:
    token = sessions.new_token()
    session, cookie = entered(sessions)
    kept = repr(vars(sessions)) + repr(vars(session)) + repr(session)
    assert cookie not in kept and token not in kept


def test_a_link_is_answered_once_more_to_the_browser_that_used_it(sessions: Sessions, clock: Clock) -> None:
    token, attempt = sessions.new_token(), "a" * SHORTEST
    lost, _cookie = sessions.enter(token, attempt=attempt)
    for other in ("", "b" * SHORTEST, attempt + "a", attempt[:-1], "x" * 100_000):
        with pytest.raises(BadToken):
            sessions.enter(token, attempt=other)
    session, cookie = sessions.enter(token, attempt=attempt)
    assert cookie is not None and sessions.of([cookie]) is session
    assert sessions.with_id(lost.id) is None and len(sessions) == 1
    clock.now += TOKEN_SECONDS
    with pytest.raises(BadToken):
        sessions.enter(token, attempt=attempt)
    assert sessions.of([cookie]) is session


def test_a_session_that_a_link_did_not_begin_is_kept_when_it_is_answered_again(sessions: Sessions) -> None:
    session, cookie = entered(sessions)
    token, attempt = sessions.new_token(), "a" * SHORTEST
    for _ in range(3):
        assert sessions.enter(token, [cookie], attempt) == (session, None)


@pytest.mark.parametrize("had_one", [False, True])
def test_a_link_to_a_session_that_was_ended_is_not_answered_once_more(sessions: Sessions, had_one: bool) -> None:
    cookies = [entered(sessions)[1]] if had_one else []
    token, attempt = sessions.new_token(), "a" * SHORTEST
    session, _cookie = sessions.enter(token, cookies, attempt)
    sessions.end(session)
    with pytest.raises(BadToken):
        sessions.enter(token, cookies, attempt)
    assert len(sessions) == 0


def test_a_short_attempt_is_none(sessions: Sessions) -> None:
    token, attempt = sessions.new_token(), "a" * (SHORTEST - 1)
    sessions.enter(token, attempt=attempt)
    with pytest.raises(BadToken):
        sessions.enter(token, attempt=attempt)

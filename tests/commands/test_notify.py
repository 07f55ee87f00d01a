"""`rpdrive notify …`, as a process, against real servers."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.access.settings import Settings
from catalog.errors import LocalError, NotFound, Undeliverable, UsageError
from catalog.notify import show
from catalog.notify.config import read_config
from catalog.notify.editing import remove_target, set_target
from catalog.notify.notifier import Notifier
from catalog.notify.spool import Spool, State, after_failure
from tests.catalog.notify.events import NOW, event, write
from tests.kit.cli import Cli
from tests.kit.mail_server import PASSWORD, USER, certificate, mail_server
from tests.kit.web_server import refused_port, web_server

HAND_WRITTEN = """\
# Who is told of what.
zone = "Europe/Berlin"

[targets.old]
type = "webhook"          # of the old system
headers = { A = "b" }
[targets.old.more]        # a part of it
x = 1
# About the next one.
[[matchers]]
targets = ["mail"]
severity = ["critical"]   # at night
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_from_setting_up_to_removing(cli: Cli, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    with mail_server() as server:
        text = cli.ok(
            "notify", "set", "mail", "--to", "ops@example.org", "--smtp", f"localhost:{server.port}",
            "--user", USER, "--password-file", password, "--from", "backup@example.org",
            "--ca-file", certificate("localhost").authority,
        )  # fmt: skip
        assert "It took a test message: see that it arrived at ops@example.org." in text
        (got,) = server.received
        assert "this is a test of notifications" in got.mail["Subject"]
    listed = cli.json("notify", "list")
    (row,) = listed["targets"]
    assert row["delivered"] and row["error"] is None
    assert row["name"] == "mail" and row["to"] == f"ops@example.org by localhost:{server.port} (starttls)"
    assert PASSWORD not in cli.ok("notify", "list")
    error = cli.fails("notify", "test", code=12)
    assert "1 target of 1 did not take the message" in error
    assert "Removed the target mail." in cli.ok("notify", "remove", "mail")
    assert "There are no targets" in cli.ok("notify", "list")


def test_a_url_is_a_secret(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "url"
    with web_server() as server:
        file.write_text(f"{server.url}/token\n")
        file.chmod(0o600)
        cli.ok("notify", "set", "ping", "--url-file", file, "--kind", "backup", "--item", "home")
        assert [request.path for request in server.requests] == ["/token"]
        folder = cli.home / "config"
        assert "token" not in (folder / "notify.toml").read_text()
        secrets = folder / "notify-secrets.toml"
        assert "token" in secrets.read_text() and stat.S_IMODE(secrets.stat().st_mode) == 0o600
        assert "token" not in cli.ok("notify", "list")


def test_a_test_that_fails_says_why_and_keeps_the_target(cli: Cli) -> None:
    error = cli.fails("notify", "set", "webhook", f"http://127.0.0.1:{refused_port()}/token", code=12)
    assert "the target webhook is set, but a test message failed: connection refused" in error
    assert "token" not in error
    (row,) = cli.json("notify", "list")["targets"]
    assert (row["error"], row["delivered"]) == ("connection refused", None)


# --- without a process ----------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"RPDRIVE_HOME": str(tmp_path)})


def test_faults_are_listed_and_end_with_an_error(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write(settings.config, 'zone = "Mars"\n[targets.x]\ntype = "fax"\n')
    with pytest.raises(UsageError, match="2 faults"):
        show.show_targets(settings, as_json=False)
    said = capsys.readouterr()
    assert "zone 'Mars' is not a time zone" in said.err and "targets.x.type: invalid value 'fax'" in said.err
    assert "not usable" in said.out


def test_what_a_person_wrote_stays(settings: Settings) -> None:
    write(settings.config, HAND_WRITTEN)
    row: dict[str, str | int | bool | list[str]] = {"type": "smtp", "host": "h", "to": ["a@b"], "user": "x"}
    set_target(settings.config, "new", row, {"password": 'q"\\\n\x7fé'})
    text = (settings.config / "notify.toml").read_text()
    assert text == HAND_WRITTEN + '\n[targets.new]\ntype = "smtp"\nhost = "h"\nto = ["a@b"]\nuser = "x"\n'


def test_removing_a_target_leaves_the_rest(settings: Settings) -> None:
    write(settings.config, HAND_WRITTEN)
    assert remove_target(settings.config, "old")
    assert (settings.config / "notify.toml").read_text() == (
        '# Who is told of what.\nzone = "Europe/Berlin"\n\n'
        '[[matchers]]\ntargets = ["mail"]\nseverity = ["critical"]   # at night\n'
    )
    assert not remove_target(settings.config, "old")


def test_setting_a_target_again_replaces_it(settings: Settings) -> None:
    for host in ("one", "two"):
        row = {"type": "smtp", "host": host, "to": ["a@b"], "user": "me"}
        set_target(settings.config, "mail", row, {"password": host})
    config = read_config(settings.config)
    assert config.faults == [] and repr(config.targets) == "{'mail': <Smtp>}"
    assert (settings.config / "notify.toml").read_text().count("[targets.mail]") == 1
    assert "one" not in (settings.config / "notify-secrets.toml").read_text()


@pytest.mark.parametrize(
    "text",
    ['targets = { old = { type = "webhook" } }\n', '[targets]\nold.type = "webhook"\n', '[targets."old"]\nx = 1\n'],
)
def test_what_can_not_be_changed_safely_is_left_alone(settings: Settings, text: str) -> None:
    write(settings.config, text)
    with pytest.raises(LocalError, match="can't be changed without disturbing"):
        remove_target(settings.config, "old")
    assert (settings.config / "notify.toml").read_text() == text


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"type": "smtp", "host": "h h", "to": ["a@b"]}, "host 'h h'"),
        ({"type": "smtp", "host": "h", "to": ["a@b\r\nBcc: c@d"]}, "to 'a@b"),
        ({"type": "webhook"}, "url is missing"),
    ],
)
def test_a_target_with_a_fault_is_not_written(settings: Settings, row: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        set_target(settings.config, "x", row, {})  # type: ignore[arg-type]
    assert not (settings.config / "notify.toml").exists()


def test_names_of_targets_are_no_paths(settings: Settings) -> None:
    with pytest.raises(UsageError, match="can't be the name of a target"):
        set_target(settings.config, "../x", {"type": "webhook"}, {"url": "https://example.org/"})
    with pytest.raises(NotFound):
        show.remove(settings, "../x", as_json=False)


def test_flush_sends_what_waits(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    set_target(settings.config, "hook", {"type": "webhook"}, {"url": f"http://127.0.0.1:{refused_port()}/"})
    Notifier(settings.config, settings.state).send([event()], time.time_ns())
    with pytest.raises(Undeliverable, match="hook: connection refused"):
        show.flush(settings, as_json=False)
    with web_server() as server:
        set_target(settings.config, "hook", {"type": "webhook"}, {"url": server.url})
        show.flush(settings, as_json=False)
        assert len(server.requests) == 1
    Spool(settings.state / "notify").add("hook", event(), NOW)
    show.flush(settings, as_json=False)
    assert (
        "1 message delivered, 0 waiting.\n0 messages delivered, 0 waiting; 1 too old, and given up."
        in capsys.readouterr().out
    )


def test_a_password_or_url_that_is_not_given_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "https://example.org/hush" if prompt == "URL" else "hush"

    monkeypatch.setattr(show, "ask_on_terminal", ask)
    public, private = show.mail_row(["a@b"], "mail.example.org:587", "starttls", "me", None, "x@y", None)
    assert private == {"password": "hush"} and "hush" not in str(public) and public["port"] == 587
    assert show.mail_row(["a@b"], "mail.example.org", "none", None, None, None, None)[1] == {}
    assert show.url_row("ping", None, None, None)[1] == {"url": "https://example.org/hush"}
    assert asked == ["Password of me at mail.example.org", "URL"]
    monkeypatch.setattr(show, "ask_on_terminal", lambda _prompt: None)
    calls: list[Callable[[], object]] = [
        lambda: show.url_row("ping", None, None, None),
        lambda: show.url_row("ping", "https://a/", tmp_path, None),
        lambda: show.mail_row(["a@b"], "h", "tls", "me", None, None, None),
        lambda: show.mail_row(["a@b"], "h:x", "tls", None, None, None, None),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            call()
    with pytest.raises(LocalError, match="does not exist"):
        show.url_row("ping", None, tmp_path / "missing", None)


def test_the_list_says_how_deliveries_go(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, str | int | bool | list[str]] = {"type": "apprise"}
    set_target(settings.config, "phone", row, {"url": "ntfys://secret-topic"})
    with (settings.config / "notify.toml").open("a") as file:
        file.write('[[matchers]]\ntargets = ["phone"]\nseverity = ["critical"]\n[[matchers]]\ntargets = []\n')
    spool = Spool(settings.state / "notify")
    spool.add("phone", event(), NOW)
    spool.set_state("phone", after_failure(State(), NOW, "connection refused"))
    show.show_targets(settings, as_json=False)
    said = capsys.readouterr().out
    assert "failing since" in said and "connection refused" in said and "ntfys" in said and "secret" not in said
    assert "Matcher for phone: severity critical\nMatcher for : everything" in said
    with pytest.raises(NotFound):
        show.test(settings, "mail", as_json=False)

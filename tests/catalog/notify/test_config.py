"""`notify.toml`: what it says, and the names of its faults."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import LocalError, RpdriveError, UsageError
from catalog.notify.config import Matcher, parse, read_config, read_password
from catalog.notify.targets import Smtp, Webhook, hidden
from tests.catalog.notify.events import write

MAIL = '[targets.mail]\ntype = "smtp"\nhost = "mail.example.org"\nto = ["ops@example.org"]\n'


def test_no_file_is_no_target(tmp_path: Path) -> None:
    assert read_config(tmp_path).targets == {}


def test_targets_get_their_secrets_from_the_other_file(tmp_path: Path) -> None:
    write(
        tmp_path, MAIL + 'user = "backup"\n[targets.hook]\ntype = "webhook"\nheaders = {A = "public"}\n',
        '[mail]\npassword = "hush"\n[hook]\nurl = "https://example.org/x"\nheaders = {B = "secret"}\n',
    )  # fmt: skip
    config = read_config(tmp_path)
    mail, hook = config.targets["mail"], config.targets["hook"]
    assert isinstance(mail, Smtp) and mail.password == "hush" and mail.used_port == 587
    assert isinstance(hook, Webhook) and hook.headers == {"A": "public", "B": "secret"}
    assert config.faults == []
    assert "hush" not in repr(config) and "secret" not in repr(config)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (MAIL + "prot = 1\n", "targets.mail: object contains unknown field `prot`"),
        (MAIL + 'port = "587"\n', "targets.mail.port: expected `int`, got `str`"),
        (MAIL + "port = 70000\n", "targets.mail.port 70000 is not a number from 1 to 65535"),
        (MAIL + 'security = "ssl"\n', "targets.mail.security: invalid enum value 'ssl'"),
        (MAIL + 'security = "none"\nuser = "me"\n', "targets.mail.security `none` would send the password"),
        (MAIL + 'from = "a@b\\r\\nBcc: c@d"\n', "targets.mail.from 'a@b"),
        ('[targets.mail]\ntype = "smtp"\nhost = "h"\nto = []\n', "targets.mail.to has 0 addresses"),
        ('[targets.mail]\ntype = "smtp"\nhost = "h"\nto = ["x"]\n', "targets.mail.to 'x' is not a mail address"),
        ('[targets.mail]\ntype = "smtp"\nhost = "a b"\nto = ["x@y"]\n', "targets.mail.host 'a b'"),
        ('[targets.mail]\ntype = "fax"\n', "targets.mail.type: invalid value 'fax'"),
        ("[targets]\nmail = 3\n", "targets.mail is not a table"),
        ('[targets."../x"]\ntype = "ping"\n', "'../x' can't be the name of a target"),
        ('[targets.w]\ntype = "webhook"\n', "targets.w.url is missing"),
        ('[targets.w]\ntype = "webhook"\nurl = "http://example.org"\n', "targets.w.url begins with http,"),
        ('[targets.w]\ntype = "webhook"\nurl = "file:///etc/passwd"\n', "targets.w.url is not a URL"),
        ('[targets.w]\ntype = "webhook"\nurl = "ftp://h/x"\n', "targets.w.url does not begin with https://"),
        ('[targets.w]\ntype = "webhook"\nurl = "https://u:p@h/"\n', "targets.w.url has a user in it"),
        ('[targets.w]\ntype = "webhook"\nurl = "https://h:x/"\n', "targets.w.url is not a URL"),
        ('[targets.w]\ntype = "webhook"\nurl = "https://h/"\nheaders = {A = "\\r\\nB: y"}\n', "targets.w.headers"),
        ('[targets.a]\ntype = "apprise"\nurl = "ntfy"\n', "targets.a.url is not the URL of a service"),
        ('[[matchers]]\ntargets = ["nix"]\n', "matchers[0].targets names 'nix', which is no target"),
        ('[[matchers]]\ntargets = []\nseverity = ["bad"]\n', "matchers[0].severity[0]: invalid enum value 'bad'"),
        ('[[matchers]]\ntargets = []\nwindow = {from = "8"}\n', "matchers[0].window.from '8' is not a time"),
        ("matchers = 1\n", "`matchers` is not a list of tables"),
        ('[digest]\nday = "mon"\n', "digest.day: invalid enum value 'mon'"),
        ('[digest]\ntime = "24:00"\n', "digest.time '24:00' is not a time"),
        ('[digest]\ntargets = ["nix"]\n', "digest.targets names 'nix'"),
        ('zone = "Mars/Base"\n', "zone 'Mars/Base' is not a time zone"),
        ("zone = 3\n", "zone '3' is not a time zone"),
        ('metrics = "relative"\n', "metrics is not the absolute path of a folder"),
        ("nonsense = 1\n", "unknown field `nonsense`"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_place(text: str, fault: str) -> None:
    (found,) = parse(tomllib.loads(text), {}).faults
    assert found.startswith(f"notify.toml: {fault}")


def test_a_faulty_target_costs_only_itself() -> None:
    config = parse(tomllib.loads(MAIL + '[targets.w]\ntype = "webhook"\nurl = "nix"\n'), {})
    assert list(config.targets) == ["mail"] and config.faulty == {"w"}


def test_a_faulty_matcher_lets_everything_through() -> None:
    config = parse(tomllib.loads(MAIL + '[[matchers]]\ntargets = ["mail"]\nseverity = ["critcal"]\n'), {})
    assert config.matchers == [Matcher(targets=["mail"])]


def test_secrets_of_no_target_are_named() -> None:
    assert parse({}, {"mail": {"password": "hush"}}).faults == [
        "notify-secrets.toml: `mail` is no target of notify.toml"
    ]


@pytest.mark.parametrize("text", ["a = ", "x" * 300_000, "a = " + "[" * 5000])
def test_what_is_not_toml_is_one_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(RpdriveError):
        read_config(tmp_path)


def test_secrets_are_not_quoted_by_a_syntax_error(tmp_path: Path) -> None:
    write(tmp_path, MAIL, 'password = "hush\n')
    with pytest.raises(UsageError) as caught:
        read_config(tmp_path)
    assert "hush" not in str(caught.value) and caught.value.__cause__ is None


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    write(tmp_path, MAIL, '[mail]\npassword = "hush"\n')
    (tmp_path / "notify-secrets.toml").chmod(0o644)
    with pytest.raises(LocalError, match="holds secrets"):
        read_config(tmp_path)


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hush\nmore\n")
    file.chmod(0o600)
    assert read_password(str(file)) == "hush"
    file.chmod(0o640)
    with pytest.raises(LocalError):
        read_password(str(file))
    with pytest.raises(LocalError, match="does not exist"):
        read_password(str(tmp_path / "missing"))


def test_errors_hide_the_secrets_of_their_target() -> None:
    hook = Webhook(url="https://example.org/services/T0000/B000", headers={"Authorization": "Bearer 12"})
    text = hidden("POST /services/T0000/B000 to https://example.org/services/T0000/B000 with Bearer 12", hook)
    assert text == "POST … to … with …"


_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.times()
_names = st.sampled_from(
    ["targets", "matchers", "digest", "zone", "metrics", "mail", "hook", "type", "url", "host", "to", "port",
     "headers", "password", "kinds", "window", "days", "from", "severity", "time", "day", "off"]
) | st.text(max_size=5)  # fmt: skip
_value = st.recursive(
    _leaf | st.sampled_from(["smtp", "webhook", "ping", "apprise", "https://h/", "a@b", "08:00", "monday"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.dictionaries(_names, _value, max_size=4), st.dictionaries(_names, _value, max_size=3))
def test_no_configuration_raises(document: dict[str, object], secrets: dict[str, object]) -> None:
    config = parse(document, secrets)
    assert all(fault.startswith("notify") for fault in config.faults)
    assert all(fault.isprintable() for fault in config.faults)

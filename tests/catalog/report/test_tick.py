"""The whole way: runs and plans on this machine, a tick, and what people and Prometheus get of it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from catalog.access.settings import Settings
from catalog.program import HOME as HOME_VARIABLE
from catalog.schedule.history import History, Ran
from catalog.schedule.tick import local_duties
from tests.catalog.notify.events import write
from tests.catalog.report.records import DATABASE, HOUR, MACHINE, NOW, VAULT, write_records
from tests.kit.mail_server import PASSWORD, USER, certificate, mail_server


def test_a_tick_mails_alerts_and_writes_metrics(tmp_path: Path) -> None:
    settings = Settings({HOME_VARIABLE: str(tmp_path)})
    write_records(settings.state)
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    with mail_server() as server:
        write(
            settings.config,
            f'metrics = "{metrics}"\nzone = "UTC"\n[targets.mail]\ntype = "smtp"\nhost = "localhost"\n'
            f'port = {server.port}\nuser = "{USER}"\nfrom = "backup@example.org"\nto = ["ops@example.org"]\n'
            f'ca_file = "{certificate("localhost").authority}"\n',
            f'[mail]\npassword = "{PASSWORD}"\n',
        )

        def subjects(now: int) -> list[str]:
            before = len(server.received)
            local_duties(settings, now)
            return [got.mail["Subject"] for got in server.received[before:]]

        def open_alerts() -> float:
            text = (metrics / "rpdrive.prom").read_text()
            families = {f.name: f.samples for f in text_string_to_metric_families(text)}
            return sum(s.value for n, f in families.items() if n.startswith("rpdrive_open_alerts") for s in f)

        first = subjects(NOW)
        assert len(first) == 2 and all(subject.startswith("SRV01: database: ") for subject in first), first
        assert any(subject.endswith("(critical)") for subject in first)  # overdue
        opened = {got.mail["Message-ID"] for got in server.received}
        assert open_alerts() == 2
        assert subjects(NOW + HOUR // 12) == []  # nothing is told twice
        done = NOW + HOUR
        History(settings.state).add(
            Ran(
                id="f" * 32, vault=VAULT, machine=MACHINE, kind="backup", item=DATABASE, item_name="database",
                started=done, finished=done + 1, outcome="completed", bytes=1, slot=done,
            )
        )  # fmt: skip
        last = subjects(done + HOUR)
        assert len(last) == 2 and all(subject.startswith("Resolved: SRV01: database: ") for subject in last), last
        assert {got.mail["In-Reply-To"] for got in server.received[2:]} == opened
        assert open_alerts() == 0

"""`rpdrive system diff`, `apply` and `check`, by real tools, on a machine whose /etc and /var/lib are overlays."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.backup.test_system_state import FEW
from tests.kit.cli import Cli

MOUNTS = """
set -e
for place in /etc /var/lib /var/cache /var/log; do
    upper="$1/upper$place" work="$1/work$place"
    mkdir -p "$upper" "$work"
    mount -t overlay overlay -o "lowerdir=$place,upperdir=$upper,workdir=$work" "$place"
done
shift
exec "$@"
"""


class Overlaid:
    """A machine like this one, whose changes go to a folder and nowhere else."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self._cli, self._folder = cli, folder
        folder.mkdir()

    def sh(self, script: str) -> str:
        return self._run("sh", "-ec", script)

    def rpdrive(self, *args: str | Path, code: int = 0) -> str:
        return self._run(*self._cli.command(*args), code=code)

    def _run(self, *command: str | Path | bytes, code: int = 0) -> str:
        inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNTS, "sh", self._folder, *command]
        done = subprocess.run(
            inside, env=self._cli.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=120, cwd="/",
        )  # fmt: skip
        assert done.returncode == code, done
        return done.stdout + done.stderr


def repository(folder: Path) -> Path:
    """A repository of apt with one small package."""
    (folder / "deb/DEBIAN").mkdir(parents=True)
    (folder / "deb/etc").mkdir()
    (folder / "deb/etc/rpdrive-probe.conf").write_text("probe\n")
    control = "Package: rpdrive-probe\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\n"
    control += "Description: a test\n"
    (folder / "deb/DEBIAN/control").write_text(control)
    (folder / "repo").mkdir()
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", folder / "deb", folder / "repo/probe.deb"],
        check=True,
        capture_output=True,
    )
    data = (folder / "repo/probe.deb").read_bytes()
    row = f"Filename: ./probe.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (folder / "repo/Packages").write_text(control + row)
    for path in (folder, folder / "repo"):
        path.chmod(0o755)
    return folder / "repo"


@pytest.mark.soak
@pytest.mark.needs_root
@pytest.mark.needs_program("unshare", "apt-get", "useradd")
def test_a_new_installation_gets_what_the_old_machine_had(rpdrive: Cli, vault: Path, tmp_path: Path) -> None:
    repo = repository(tmp_path)
    sources = f"""rm -rf /etc/apt/sources.list*
        echo 'deb [trusted=yes] file:{repo} ./' > /etc/apt/sources.list
        apt-get update > /dev/null
        printf '[Unit]\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/rpdrive-probe.service
        """
    old, new = Overlaid(rpdrive, tmp_path / "old"), Overlaid(rpdrive, tmp_path / "new")
    before = Path("/etc/passwd").read_bytes()
    old.sh(
        f"""{sources}
        apt-get install -y rpdrive-probe > /dev/null
        groupadd -g 4711 team; useradd -u 4710 -g 4711 -c 'Anna, A.' -s /bin/bash -G sudo anna
        systemctl --root=/ enable rpdrive-probe.service
        echo old > /etc/rpdrive-other.conf; echo old >> /etc/hosts"""
    )
    few = [*FEW, "--exclude=!/etc/rpdrive-*", "--exclude=!/etc/hosts", "--exclude=!/etc/systemd/"]
    old.rpdrive("backup", "--system-state", *few)
    new.sh(sources)

    text = new.rpdrive("system", "show", "latest")
    assert "Debian GNU/Linux" in text and "(dpkg)" in text
    told = new.rpdrive("system", "diff", "latest")
    for line in (
        "-  rpdrive-probe:all  1.0 manual",
        "-  anna  4710:4711 /home/anna /bin/bash",
        "M  rpdrive-probe.service",
    ):
        assert line in told, told
    assert "-  rpdrive-probe" not in new.rpdrive("system", "diff", "latest", "--only", "users")

    shown = new.rpdrive("system", "apply", "latest", "--only", "users", "--dry-run")
    assert "useradd --uid 4710" in shown and "anna" not in new.sh("cat /etc/passwd")
    refused = new.rpdrive("system", "apply", "latest", "--only", "users", code=2)
    assert "nothing was changed; confirm with --yes" in refused and "anna" not in new.sh("cat /etc/passwd")

    for part in ("users", "packages", "units"):
        new.rpdrive("system", "apply", "latest", "--only", part, "--yes")
    assert "anna:x:4710:4711:Anna, A.:/home/anna:/bin/bash" in new.sh("cat /etc/passwd")
    assert "anna:!:" in new.sh("cat /etc/shadow"), "a new account is locked"
    assert "anna" not in new.sh("grep ^sudo: /etc/group")
    assert new.sh("dpkg-query -W rpdrive-probe; apt-mark showmanual rpdrive-probe").split()[-1] == "rpdrive-probe"
    assert new.sh("systemctl --root=/ is-enabled rpdrive-probe.service").strip() == "enabled"
    beside = Path(f"/etc.rpdrive-{rpdrive.json('points')['points'][0]['id'][:8]}")
    try:
        new.rpdrive("system", "apply", "latest", "--only", "etc", "--yes")
        assert (beside / "etc/hosts").read_text().endswith("old\n")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    assert new.sh("cat /etc/rpdrive-other.conf") == "old\n"
    assert "old" not in new.sh("cat /etc/hosts")
    for part in ("users", "packages", "units"):
        assert "There is nothing to do" in new.rpdrive("system", "apply", "latest", "--only", part, "--yes")
    assert Path("/etc/passwd").read_bytes() == before


@pytest.mark.needs_root
def test_check_says_what_a_rebuild_would_still_need(rpdrive: Cli, vault: Path, tmp_path: Path) -> None:
    assert "not registered in this vault" in rpdrive.fails("system", "check", code=4)
    (tmp_path / "file").write_text("x")
    rpdrive.ok("backup", tmp_path / "file")
    done = rpdrive.run("system", "check")
    assert done.returncode == 3
    assert b"has no system state" in done.stdout and b"would still need /" in done.stdout
    done = rpdrive.run("system", "check", "--json")
    assert done.returncode == 3
    assert b'"complete": false' in done.stdout and b'"system_state": null' in done.stdout

"""Shows the hooks of this machine, and runs one of them by hand."""

from __future__ import annotations

import shlex
import time

from catalog.access.settings import Settings
from catalog.errors import HookFailed, NotFound
from catalog.hooks.around import Around, job_facts
from catalog.hooks.config import Hook, Hooks, Mode, Stage, read_hooks
from catalog.screen.output import print_json
from catalog.screen.text import duration_text, safe_text, table


def show_hooks(settings: Settings, *, as_json: bool) -> None:
    """Print the hooks. Raises what `read_hooks` does."""
    hooks = read_hooks(settings)
    if as_json:
        print_json({
            "file": str(hooks.path),
            "hooks": [
                {"name": h.name, "stage": str(h.stage), "mode": str(h.mode), "items": h.items, "timeout": h.timeout,
                 "run": h.run}
                for h in hooks.rows
            ],
        })  # fmt: skip
        return
    if not hooks.rows:
        print(f"no hooks in {hooks.path}")
        return
    rows = [
        [h.name, h.stage, h.mode, ", ".join(h.items) or "all", duration_text(h.timeout), shlex.join(h.run)]
        for h in hooks.rows
    ]
    columns = ["HOOK", "STAGE", "MODE", "ITEMS", "TIME LIMIT>", "COMMAND"]
    print(table(columns, [[safe_text(str(cell)) for cell in row] for row in rows]))


def test_hook(settings: Settings, name: str, item: str) -> None:
    """Run the hook `name`. Raises HookFailed if it fails, whatever its mode, and NotFound."""
    hooks = read_hooks(settings)
    hook = next((hook for hook in hooks.rows if hook.name == name), None)
    if hook is None:
        raise NotFound(f"there is no hook {name!r} in {hooks.path}", "see `rpdrive hooks show`")
    began = time.monotonic()
    _run(hook, hooks, item)
    print(f"the hook {safe_text(name)} succeeded in {time.monotonic() - began:.1f} s")


def _run(hook: Hook, hooks: Hooks, item: str) -> None:
    essential = Hook(
        stage=hook.stage, run=hook.run, name=hook.name, mode=Mode.ESSENTIAL, timeout=hook.timeout
    )  # fmt: skip
    failures: list[str] = []
    around = Around(Hooks(hooks.path, [essential]), item, job_facts(kind="test", item=item), failures.append)
    with around.job(Stage.BEFORE, Stage.AFTER, Stage.ON_FAILURE):
        if hook.stage is Stage.HOLD:
            around.begin()
            around.end()
        elif hook.stage not in (Stage.BEFORE, Stage.AFTER):
            around.run(essential)
    if failures:
        raise HookFailed(failures[0])

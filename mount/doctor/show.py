"""The output of `rpdrive doctor`."""

from __future__ import annotations

from collections import Counter

from catalog.access.session import Session
from catalog.errors import WITH_PROBLEMS, RpdriveError
from catalog.plans.local import LocalPlans
from catalog.screen.output import print_json, say
from mount.doctor.examine import Check, Finding, Result, State, examine
from mount.doctor.here import Here
from mount.doctor.there import There


def show_doctor(session: Session, *, as_json: bool) -> int:
    """Print a line for each check. Returns the exit code: 3 if one failed, warns, or has no answer."""
    found = examine([*Here(session.settings).checks(), *_vaults(session)])
    bad = [one for one in found if one.state is not State.OK]
    code = WITH_PROBLEMS if bad else 0
    if as_json:
        rows = [{"name": f.name, "state": str(f.state), "text": f.text, "mend": f.mend} for f in found]
        print_json({"checks": rows, "exit_code": code})
        return code
    width = max(len(one.name) for one in found)
    for one in found:
        say(_line(one, width))
    counts = Counter(str(one.state) for one in bad)
    say(", ".join(f"{number} {state}" for state, number in counts.items()) or "all is well")
    return code


def _line(one: Finding, width: int) -> str:
    return f"{one.state:7}  {one.name:{width}}  {one.text}" + (f"; {one.mend}" if one.mend else "")


def _vaults(session: Session) -> list[Check]:
    """The checks of the vault that the command is about; else of those that this machine has plans for."""
    try:
        session.address  # noqa: B018 - raises if none is named, and there is not exactly one
        return There(session).checks()
    except RpdriveError as e:
        error = e
    vaults = LocalPlans(session.settings.where("state")).all().vaults
    if not vaults:

        def none() -> Result:
            return State.FAIL, str(error), error.advice

        return [Check("vault", none)]
    found = []
    for vault in vaults:
        found += [
            c._replace(name=f"{c.name} ({vault.address})") for c in There(session.another(vault.address)).checks()
        ]
    return found

"""The rooms of the code and the walls between them.

A room is a package, a folder in one, or a single module that has a floor of its own. A room may import the rooms
named in its row and no others. The rows run from the ground up: a row names only rows above itself on this page, so
that no arrow points up. A module belongs to the room with the longest name that fits.
"""

from __future__ import annotations

ROOMS = {
    # The foundation.
    "catalog.errors": "",
    "catalog.held": "",
    "catalog.interruption": "",
    "catalog.names": "",
    "catalog.author": "",
    "catalog.mountinfo": "",
    "catalog.filesystems": "catalog.mountinfo",
    "catalog.program": "catalog.errors",
    "catalog.globs": "",
    "catalog.patterns": "catalog.errors catalog.globs",
    "catalog.documents": "catalog.errors",
    "catalog.processors": "",
    "catalog.heap": "",
    "catalog.systems": "",
    "catalog.units": "catalog.errors",
    "catalog.screen": "catalog.errors catalog.interruption",
    "catalog.disks.probe": "",
    "catalog.disks.tables": "catalog.disks.probe",
    "catalog.disks.geometry": "catalog.disks.probe catalog.disks.tables",
    "catalog.disks": "catalog.errors catalog.mountinfo",
    "catalog.format": "catalog.errors",
    "catalog.retention": "catalog.errors catalog.format",
    "catalog.windows": "catalog.errors catalog.names catalog.format",
    "catalog.store": "catalog.errors catalog.held catalog.interruption catalog.systems",
    "catalog.store.azure": "catalog.errors catalog.store",
    "catalog.store.address": "catalog.errors catalog.program catalog.store catalog.store.azure",
    "catalog.transfer": "catalog.errors catalog.screen catalog.store",
    "catalog.seeds.disk": "catalog.errors catalog.format catalog.store catalog.systems",
    "catalog.signed": "catalog.errors catalog.format catalog.store",
    "catalog.passed_over": "catalog.errors",
    "catalog.kept": "",
    "catalog.places": "catalog.format catalog.signed catalog.store",
    "catalog.vault_json": "catalog.errors catalog.format catalog.store",
    "catalog.promoted": "catalog.format",
    "catalog.vault": "catalog.errors catalog.format catalog.kept catalog.passed_over catalog.places"
    " catalog.promoted catalog.signed catalog.store catalog.vault_json",
    "catalog.elsewhere": "catalog.errors catalog.format catalog.store catalog.vault",
    "catalog.signing": "catalog.errors catalog.format catalog.signed catalog.vault",
    "catalog.new_vault": "catalog.errors catalog.format catalog.store catalog.vault catalog.vault_json",
    "catalog.tree": "catalog.errors catalog.format",
    "catalog.direct": "catalog.errors catalog.format catalog.tree catalog.vault",
    "catalog.mark": "catalog.errors catalog.format catalog.screen catalog.store catalog.tree catalog.vault",
    "catalog.protect": "catalog.errors catalog.format catalog.mountinfo catalog.screen catalog.store"
    " catalog.systems",
    "catalog.ledger.state": "catalog.format catalog.promoted",
    "catalog.ledger.records": "catalog.author catalog.errors catalog.format catalog.ledger.state catalog.store"
    " catalog.vault",
    "catalog.ledger.table": "catalog.format",
    "catalog.ledger.listed": "catalog.errors catalog.format catalog.ledger.records catalog.ledger.table"
    " catalog.screen catalog.vault",
    # The subjects of the catalog, each with its commands.
    "catalog.copies.missing": "catalog.errors",
    "catalog.access": "catalog.copies.missing catalog.elsewhere catalog.errors catalog.format"
    " catalog.ledger.listed catalog.new_vault catalog.program catalog.protect catalog.screen catalog.signing"
    " catalog.store catalog.store.address"
    " catalog.systems catalog.vault catalog.vault_json",
    "catalog.cost.use": "catalog.store",
    "catalog.cost.prices": "catalog.access catalog.errors catalog.screen",
    "catalog.cost.money": "catalog.cost.prices catalog.cost.use",
    "catalog.cost.counts": "catalog.cost.use catalog.store",
    "catalog.cost.places": "catalog.access catalog.cost.prices catalog.errors catalog.store.address",
    "catalog.cost.before": "catalog.access catalog.cost.money catalog.cost.places catalog.cost.use catalog.errors"
    " catalog.program catalog.screen",
    "catalog.plans.effective": "catalog.format",
    "catalog.plans.local": "catalog.access catalog.errors catalog.plans.effective",
    "catalog.policies.zone": "catalog.errors catalog.retention",
    "catalog.notify.event": "",
    "catalog.alerts.rules": "catalog.notify.event",
    "catalog.alerts.state": "catalog.alerts.rules catalog.notify.event",
    "catalog.alerts.keeping": "catalog.access catalog.alerts.state catalog.errors catalog.systems",
    "catalog.schedule.history": "catalog.access catalog.errors catalog.systems",
    "catalog.schedule.slots": "catalog.format catalog.retention",
    "catalog.schedule.due": "catalog.format catalog.plans.effective catalog.schedule.history"
    " catalog.schedule.slots",
    "catalog.alerts.sending": "catalog.alerts.rules catalog.alerts.state catalog.notify.event",
    "catalog.alerts.jobs": "catalog.alerts.rules catalog.alerts.state catalog.notify.event"
    " catalog.schedule.history",
    "catalog.alerts.overdue": "catalog.alerts.jobs catalog.alerts.rules catalog.alerts.state"
    " catalog.notify.event catalog.plans.effective catalog.schedule.due catalog.schedule.history"
    " catalog.screen",
    "catalog.alerts.telling": "catalog.alerts.keeping catalog.alerts.sending catalog.alerts.state catalog.errors"
    " catalog.notify.event",
    "catalog.notify": "catalog.access catalog.errors catalog.notify.event catalog.policies.zone catalog.screen"
    " catalog.systems",
    "catalog.schedule.noted": "catalog.format catalog.notify catalog.schedule.history catalog.screen"
    " catalog.systems catalog.vault",
    "catalog.schedule.marks": "catalog.errors catalog.systems",
    "catalog.alerts.local": "catalog.access catalog.alerts.jobs catalog.alerts.keeping catalog.alerts.overdue"
    " catalog.alerts.rules catalog.alerts.state catalog.alerts.telling catalog.errors catalog.notify"
    " catalog.notify.event catalog.plans.local catalog.schedule.history catalog.schedule.marks catalog.systems",
    "catalog.schedule.conditions": "catalog.format catalog.plans.effective catalog.retention"
    " catalog.schedule.slots",
    "catalog.schedule.agenda": "catalog.plans.effective catalog.plans.local catalog.schedule.conditions"
    " catalog.schedule.due catalog.schedule.history catalog.schedule.slots",
    "catalog.report.series": "catalog.plans.effective catalog.plans.local catalog.schedule.due"
    " catalog.schedule.history",
    "catalog.report.wording": "catalog.alerts.state catalog.report.series catalog.screen",
    "catalog.report.metrics": "catalog.errors catalog.notify.event catalog.report.series",
    "catalog.report.digest": "catalog.alerts.state catalog.notify.event catalog.report.series"
    " catalog.report.wording catalog.screen",
    "catalog.report.duties": "catalog.access catalog.alerts.keeping catalog.errors catalog.notify"
    " catalog.report.digest catalog.report.metrics catalog.report.series",
    "catalog.schedule.tick": "catalog.access catalog.alerts.local catalog.errors catalog.notify"
    " catalog.plans.local catalog.program catalog.report.duties catalog.schedule.agenda catalog.schedule.conditions"
    " catalog.schedule.history catalog.schedule.marks catalog.systems",
    "catalog.schedule.timers": "catalog.errors catalog.program catalog.schedule.tick catalog.units catalog.windows",
    "catalog.schedule": "catalog.access catalog.errors catalog.plans.local catalog.schedule.due"
    " catalog.schedule.marks catalog.schedule.tick catalog.schedule.timers catalog.screen",
    "catalog.machines": "catalog.access catalog.errors catalog.format catalog.ledger.listed catalog.screen"
    " catalog.store catalog.vault",
    "catalog.policies.records": "catalog.errors catalog.format catalog.retention catalog.signing catalog.vault",
    "catalog.check.finding": "catalog.format",
    "catalog.check.records": "catalog.check.finding catalog.errors catalog.format catalog.store catalog.vault",
    "catalog.points": "catalog.access catalog.check.records catalog.direct catalog.errors catalog.format"
    " catalog.ledger.listed catalog.ledger.records catalog.ledger.table catalog.machines catalog.names"
    " catalog.policies.records catalog.promoted catalog.retention catalog.screen catalog.tree catalog.vault"
    " catalog.windows",
    "catalog.policies": "catalog.access catalog.author catalog.documents catalog.errors catalog.format"
    " catalog.points catalog.policies.records catalog.policies.zone catalog.retention catalog.screen catalog.store"
    " catalog.vault",
    "catalog.ledger": "catalog.access catalog.author catalog.errors catalog.format catalog.ledger.listed"
    " catalog.ledger.records catalog.ledger.state catalog.machines catalog.points catalog.policies.records"
    " catalog.promoted catalog.retention catalog.screen catalog.signing catalog.store catalog.vault",
    "catalog.check": "catalog.access catalog.check.finding catalog.check.records catalog.cost.before"
    " catalog.cost.use catalog.errors catalog.format"
    " catalog.heap catalog.interruption catalog.ledger.records catalog.ledger.state catalog.machines"
    " catalog.mark catalog.places catalog.points catalog.processors catalog.schedule.noted catalog.screen"
    " catalog.store catalog.vault",
    "catalog.repair": "catalog.access catalog.direct catalog.errors catalog.format catalog.heap"
    " catalog.ledger.records catalog.machines catalog.mark catalog.places catalog.points catalog.screen"
    " catalog.signing catalog.store catalog.tree catalog.vault catalog.vault_json",
    "catalog.seeds.record": "catalog.errors catalog.format catalog.vault",
    "catalog.prune": "catalog.access catalog.cost.before catalog.cost.use"
    " catalog.errors catalog.format catalog.interruption catalog.ledger"
    " catalog.ledger.records catalog.ledger.state catalog.machines catalog.mark catalog.places catalog.points"
    " catalog.policies.records catalog.promoted catalog.protect catalog.schedule.noted catalog.screen"
    " catalog.seeds.record catalog.signed catalog.signing catalog.store catalog.vault",
    "catalog.plans.paths": "catalog.errors",
    "catalog.plans.allowed": "catalog.access catalog.errors catalog.plans.paths",
    "catalog.plans.records": "catalog.access catalog.author catalog.errors catalog.format catalog.machines"
    " catalog.plans.allowed catalog.plans.effective catalog.plans.local catalog.store catalog.vault",
    "catalog.plans": "catalog.access catalog.documents catalog.errors catalog.format catalog.ledger"
    " catalog.machines catalog.patterns catalog.plans.effective catalog.plans.local catalog.plans.paths"
    " catalog.plans.records"
    " catalog.points catalog.policies catalog.policies.records catalog.policies.zone catalog.program"
    " catalog.retention catalog.schedule.due catalog.schedule.timers"
    " catalog.screen catalog.store"
    " catalog.vault",
    "catalog.cost": "catalog.access catalog.cost.counts catalog.cost.money catalog.cost.places catalog.cost.prices"
    " catalog.cost.use catalog.errors catalog.format catalog.plans.effective catalog.plans.records"
    " catalog.policies.records catalog.screen catalog.store catalog.vault",
    "catalog.promotion": "catalog.access catalog.errors catalog.format catalog.plans.local catalog.screen"
    " catalog.seeds.disk catalog.store catalog.store.address catalog.vault catalog.vault_json",
    "catalog.jobs": "catalog.access catalog.errors catalog.format catalog.machines catalog.schedule.history"
    " catalog.screen catalog.store catalog.vault",
    "catalog.throttle.rates": "catalog.format",
    "catalog.alerts": "catalog.access catalog.alerts.jobs catalog.alerts.keeping catalog.alerts.local"
    " catalog.alerts.overdue catalog.alerts.rules catalog.alerts.state catalog.alerts.telling catalog.errors"
    " catalog.format catalog.ledger.records catalog.ledger.state catalog.ledger.table catalog.machines"
    " catalog.notify catalog.notify.event catalog.plans.effective catalog.plans.records catalog.points"
    " catalog.policies.records catalog.retention catalog.schedule.due catalog.schedule.history catalog.screen"
    " catalog.seeds.record catalog.store.address catalog.throttle.rates catalog.vault",
    "catalog.report": "catalog.access catalog.alerts.keeping catalog.alerts.state catalog.errors catalog.format"
    " catalog.jobs catalog.notify.event catalog.plans.effective catalog.plans.local catalog.plans.records"
    " catalog.report.series catalog.report.wording catalog.schedule.history"
    " catalog.screen catalog.vault",
    "catalog.history": "catalog.access catalog.direct catalog.errors catalog.format catalog.machines catalog.names"
    " catalog.points catalog.screen catalog.tree catalog.vault",
    "catalog.inventory.values": "",
    "catalog.inventory": "catalog.access catalog.direct catalog.errors catalog.format catalog.inventory.values"
    " catalog.ledger.listed catalog.machines catalog.mountinfo catalog.points catalog.program catalog.screen"
    " catalog.systems catalog.tree catalog.vault",
    "catalog.hooks": "catalog.access catalog.errors catalog.format catalog.interruption catalog.program"
    " catalog.screen catalog.systems",
    "catalog.throttle": "catalog.access catalog.errors catalog.format catalog.held catalog.plans.local"
    " catalog.screen catalog.store catalog.throttle.rates",
    "catalog.seeds": "catalog.access catalog.errors catalog.format catalog.machines catalog.schedule.marks"
    " catalog.screen catalog.seeds.disk catalog.seeds.record catalog.store catalog.store.address catalog.systems"
    " catalog.throttle catalog.transfer catalog.vault catalog.vault_json",
    "catalog.copies": "catalog.access catalog.copies.missing catalog.errors catalog.format catalog.ledger.records"
    " catalog.mark catalog.places catalog.prune catalog.screen catalog.seeds.disk catalog.store catalog.throttle"
    " catalog.transfer catalog.vault catalog.vault_json",
    # Reading file contents.
    "cache.counters": "",
    "cache.memory": "",
    "cache.blocks": "cache.memory catalog.format",
    "cache.spans": "catalog.format",
    "cache.streams": "catalog.format",
    "cache.shelf": "catalog.errors",
    "cache.disk": "cache.memory cache.shelf catalog.format",
    "cache.fetcher": "cache.counters cache.spans cache.streams catalog.errors catalog.held catalog.format"
    " catalog.places catalog.vault",
    "cache.openfile": "cache.counters catalog.errors catalog.format catalog.tree",
    "cache.reader": "cache.blocks cache.counters cache.disk cache.fetcher cache.openfile"
    " catalog.errors catalog.held catalog.format catalog.heap catalog.processors catalog.vault",
    "cache.commands": "cache.disk catalog.access catalog.screen",
    # Drives and restores.
    "mount.view": "cache.memory cache.openfile cache.reader catalog.errors catalog.format catalog.history"
    " catalog.ledger.listed catalog.ledger.records catalog.names catalog.points catalog.tree catalog.vault"
    " catalog.windows",
    "mount.place": "catalog.disks catalog.errors catalog.mountinfo catalog.windows",
    "mount.login": "catalog.errors catalog.program catalog.units catalog.windows mount.place",
    "mount.drivers": "cache.memory cache.openfile cache.reader catalog.errors catalog.held catalog.screen"
    " mount.view",
    "mount.drivers.kernel": "cache.memory cache.openfile cache.reader catalog.errors catalog.held catalog.format"
    " catalog.mountinfo mount.drivers mount.place mount.view",
    "mount.drivers.winfsp": "cache.memory cache.openfile cache.reader catalog.errors catalog.format catalog.names"
    " catalog.windows mount.drivers mount.place mount.view",
    "mount.drivers.choice": "cache.reader catalog.errors catalog.windows mount.drivers mount.drivers.kernel"
    " mount.drivers.winfsp mount.view",
    "mount.process": "cache.disk cache.reader catalog.access catalog.errors catalog.format catalog.ledger.listed"
    " catalog.ledger.records catalog.mountinfo catalog.points catalog.program catalog.screen catalog.store"
    " catalog.systems catalog.throttle catalog.vault mount.drivers mount.drivers.choice mount.place mount.view",
    "mount.restore.disk": "catalog.errors catalog.filesystems catalog.format catalog.mountinfo catalog.systems"
    " catalog.windows mount.view",
    "mount.restore": "cache.disk cache.reader catalog.access catalog.cost.before catalog.cost.counts"
    " catalog.cost.use"
    " catalog.disks catalog.disks.geometry catalog.disks.probe catalog.errors catalog.format catalog.heap"
    " catalog.hooks catalog.interruption catalog.jobs catalog.ledger.listed catalog.machines catalog.names"
    " catalog.patterns catalog.places catalog.points catalog.processors catalog.program"
    " catalog.schedule.history catalog.schedule.noted catalog.screen catalog.throttle catalog.tree"
    " catalog.vault catalog.windows mount.process mount.restore.disk mount.view",
    "mount.loop.mounting": "catalog.errors catalog.mountinfo",
    "mount.loop": "catalog.disks catalog.disks.geometry catalog.disks.probe catalog.disks.tables"
    " catalog.errors catalog.screen mount.loop.mounting mount.place",
    "mount.opening": "catalog.access catalog.errors catalog.program catalog.screen catalog.throttle"
    " catalog.vault mount.drivers.choice mount.login mount.place mount.process",
    "mount.closing": "catalog.access catalog.screen mount.login mount.place mount.process",
    "mount.listing": "catalog.access catalog.screen mount.process",
    "mount.restoretest": "cache.reader catalog.access catalog.errors catalog.format catalog.interruption"
    " catalog.jobs catalog.machines catalog.names catalog.points catalog.program catalog.schedule.history"
    " catalog.schedule.noted catalog.screen catalog.throttle catalog.tree catalog.vault mount.closing"
    " mount.opening mount.view",
    "mount.doctor": "catalog.access catalog.alerts.overdue catalog.alerts.rules catalog.errors catalog.format"
    " catalog.hooks catalog.notify catalog.plans.local catalog.schedule.history catalog.schedule.marks"
    " catalog.schedule.timers catalog.screen catalog.store catalog.systems mount.drivers.choice",
    "mount.rebuild": "catalog.access catalog.errors catalog.format catalog.inventory catalog.inventory.values"
    " catalog.ledger.listed catalog.mountinfo catalog.screen catalog.vault",
    "mount.browse.guard": "catalog.errors",
    "mount.browse.running": "catalog.access catalog.errors catalog.interruption catalog.jobs catalog.program"
    " catalog.screen catalog.systems catalog.throttle catalog.vault mount.process mount.restore",
    "mount.browse.resources": "cache.disk cache.memory cache.openfile cache.reader catalog.access catalog.alerts"
    " catalog.alerts.keeping catalog.alerts.overdue catalog.alerts.rules catalog.alerts.state catalog.direct"
    " catalog.errors catalog.format catalog.heap catalog.history catalog.jobs catalog.ledger.listed"
    " catalog.ledger.records"
    " catalog.machines catalog.mountinfo catalog.names catalog.plans catalog.plans.effective catalog.plans.local"
    " catalog.plans.paths catalog.plans.records catalog.points catalog.policies catalog.policies.records"
    " catalog.program catalog.retention catalog.schedule.due catalog.schedule.history catalog.screen"
    " catalog.tree catalog.vault catalog.vault_json catalog.windows mount.browse.running mount.drivers.choice"
    " mount.opening mount.place mount.process mount.view",
    "mount.browse.pages": "mount.browse.guard",
    "mount.browse.options": "catalog.errors catalog.screen",
    "mount.browse.api": "catalog.errors mount.browse.guard mount.browse.resources mount.drivers.choice",
    "mount.browse.contents": "catalog.errors mount.browse.api mount.browse.guard mount.browse.resources",
    "mount.browse.server": "catalog.access catalog.errors catalog.screen catalog.systems catalog.vault"
    " mount.browse.api mount.browse.contents mount.browse.guard mount.browse.options mount.browse.pages"
    " mount.browse.resources mount.process",
    "mount.browse": "catalog.access catalog.screen mount.browse.options mount.browse.server",
    "mount.fleet.restoring": "cache.reader catalog.errors catalog.format catalog.interruption catalog.screen"
    " catalog.tree catalog.vault mount.restore mount.restore.disk",
    "mount.fleet": "cache.disk catalog.access catalog.check catalog.check.finding catalog.check.records"
    " catalog.cost.before"
    " catalog.errors catalog.format catalog.interruption catalog.jobs catalog.machines catalog.points"
    " catalog.program catalog.prune catalog.screen catalog.seeds.record catalog.signing catalog.store"
    " catalog.vault mount.fleet.restoring mount.process"
    " mount.restore mount.restoretest",
    "mount.promoting": "catalog.access catalog.promotion catalog.screen mount.login",
    "mount.commands": "catalog.access catalog.screen mount.closing mount.listing mount.opening",
    # Backups.
    "backup.systems": "catalog.disks catalog.disks.geometry catalog.errors catalog.filesystems catalog.format"
    " catalog.mountinfo catalog.windows",
    "backup.snapshot.base": "",
    "backup.snapshot.marks": "backup.snapshot.base catalog.access catalog.errors catalog.systems",
    "backup.snapshot.vss": "backup.snapshot.base backup.snapshot.marks catalog.access catalog.errors catalog.format"
    " catalog.program catalog.windows",
    "backup.snapshot": "backup.snapshot.base backup.snapshot.marks backup.snapshot.vss backup.systems"
    " catalog.access catalog.errors"
    " catalog.format catalog.mountinfo catalog.program catalog.screen catalog.systems catalog.windows",
    "backup.exclusions": "catalog.errors catalog.patterns",
    "backup.selection": "backup.exclusions",
    "backup.choosing": "backup.exclusions backup.selection backup.snapshot.base backup.systems catalog.names"
    " catalog.patterns",
    "backup.census": "backup.exclusions backup.selection backup.snapshot.base",
    "backup.mirrorfile": "catalog.errors catalog.format",
    "backup.mirror": "backup.mirrorfile catalog.format",
    "backup.pipeline": "backup.mirror catalog.format catalog.interruption catalog.processors catalog.vault",
    "backup.pieces": "backup.pipeline catalog.format",
    "backup.progress": "backup.pipeline catalog.format catalog.screen",
    "backup.sources.base": "backup.systems catalog.format",
    "backup.run": "backup.mirror backup.pipeline backup.progress backup.selection backup.sources.base"
    " backup.systems catalog.access catalog.format catalog.points catalog.tree catalog.vault",
    "backup.previous": "backup.systems catalog.errors catalog.format catalog.tree",
    "backup.entries": "catalog.errors catalog.format",
    "backup.above": "backup.previous backup.systems catalog.format",
    "backup.frame": "backup.exclusions backup.previous backup.selection backup.systems catalog.format"
    " catalog.patterns catalog.tree",
    "backup.fixed": "backup.pieces backup.pipeline backup.systems catalog.errors catalog.format catalog.tree",
    "backup.files": "backup.fixed backup.pieces backup.pipeline backup.run backup.systems catalog.errors"
    " catalog.format",
    "backup.links": "backup.pieces backup.systems catalog.errors catalog.format",
    "backup.ahead": "backup.systems",
    "backup.saving": "backup.ahead backup.entries backup.files backup.frame backup.links backup.pieces"
    " backup.pipeline backup.previous backup.systems catalog.format",
    "backup.walk": "backup.above backup.ahead backup.choosing backup.entries backup.exclusions backup.files"
    " backup.frame backup.links backup.pipeline backup.previous backup.run backup.saving backup.selection"
    " backup.systems catalog.errors catalog.format catalog.interruption catalog.patterns catalog.tree",
    "backup.evidence": "backup.mirror backup.mirrorfile backup.run backup.systems catalog.errors catalog.format",
    "backup.lineage": "backup.evidence backup.run backup.systems catalog.errors catalog.format"
    " catalog.ledger.records",
    "backup.mirroring": "backup.run backup.systems catalog.errors catalog.format catalog.vault",
    "backup.attempt": "backup.evidence backup.lineage backup.pipeline backup.previous backup.run"
    " backup.systems backup.walk catalog.errors catalog.format catalog.interruption catalog.store"
    " catalog.vault",
    "backup.engine": "backup.attempt backup.evidence backup.lineage backup.mirrorfile backup.mirroring"
    " backup.run backup.systems catalog.errors catalog.interruption",
    "backup.display": "backup.run catalog.format catalog.screen catalog.store",
    "backup.record": "backup.progress backup.run catalog.errors catalog.format catalog.interruption"
    " catalog.jobs catalog.schedule.noted catalog.vault",
    "backup.request": "backup.exclusions backup.selection backup.systems catalog.access catalog.errors"
    " catalog.format",
    "backup.sources": "backup.exclusions backup.request backup.selection backup.snapshot backup.snapshot.base"
    " backup.snapshot.marks backup.snapshot.vss"
    " backup.sources.base backup.systems catalog.access catalog.disks catalog.disks.geometry catalog.errors"
    " catalog.format catalog.inventory catalog.mountinfo catalog.program catalog.screen catalog.windows",
    "backup.why": "backup.choosing backup.exclusions backup.request backup.selection backup.sources"
    " backup.systems catalog.access catalog.format catalog.patterns catalog.screen",
    "backup.job": "backup.census backup.engine backup.mirror backup.record backup.request"
    " backup.run backup.sources backup.systems cache.disk cache.reader catalog.access catalog.errors"
    " catalog.format catalog.hooks catalog.machines catalog.points catalog.screen catalog.seeds catalog.vault",
    "backup.foreground": "backup.display backup.job backup.request backup.systems catalog.access catalog.errors"
    " catalog.format catalog.points catalog.screen catalog.vault",
    "backup.scheduled": "backup.foreground backup.request backup.systems catalog.access catalog.alerts"
    " catalog.check catalog.errors catalog.format catalog.held catalog.notify catalog.plans.local"
    " catalog.plans.records catalog.program catalog.prune catalog.schedule.agenda catalog.schedule.conditions"
    " catalog.schedule.due catalog.schedule.history catalog.schedule.marks catalog.schedule.noted catalog.screen"
    " catalog.seeds catalog.store catalog.throttle catalog.vault",
    "backup.wanted": "catalog.errors",
    "backup.commands": "backup.foreground backup.request backup.scheduled backup.sources backup.wanted"
    " backup.why catalog.access catalog.errors catalog.format catalog.screen catalog.store catalog.throttle",
    # The command, which loads the packages' commands by name.
    "rpdrive": "backup.commands backup.snapshot cache.commands cache.disk catalog.access catalog.alerts"
    " catalog.check catalog.copies catalog.cost catalog.errors catalog.history catalog.hooks catalog.interruption"
    " catalog.inventory catalog.jobs catalog.ledger catalog.machines catalog.notify catalog.plans"
    " catalog.points catalog.policies catalog.program catalog.prune catalog.repair catalog.report"
    " catalog.schedule catalog.screen catalog.seeds mount.browse mount.commands mount.doctor mount.fleet"
    " mount.loop"
    " mount.promoting mount.rebuild mount.restore mount.restoretest",
}

# Files of more than 500 lines, and why each is one file.
LONG: dict[str, str] = {}

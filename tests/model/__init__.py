"""A model of pruning beside backups, readers and admins. docs/prune-design.md says what it shows and what it can't.

values.py has constants and records; store.py what the vault answers; design.py the rules, each of which a mutant
breaks; writer.py, pruner.py and others.py the actors; world.py their steps; invariants.py what must hold;
search.py the searches; quiet.py what must come of any moment; scenarios.py the scenes. `make model` runs it.
"""

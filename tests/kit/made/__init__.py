"""Very large vaults that nobody wrote: each object is made up when it is asked for, and sealed by the real code.

    python -m tests.kit.made.make FOLDER --machines 2000 --points 10000     a vault at made://FOLDER
    python -m tests.kit.made.command OUT.json points --machine machine-00007    what a command takes there

`shape.py` says which objects there are, `contents.py` what is in them, `store.py` is the store, and what is written
to the vault lies beside them in its folder. `fleet.py` has vaults in memory, for tests. `source.py` is a system
whose files are made up, for a backup.
"""

"""The names of temporary files, which show which job made them, and for what.

A name holds a mark, which identifies the file, and a tag: a keyed hash of the mark. The key depends on the vault's
keys and on the job, so no other user can foresee a name, and no file of the user's is taken for one of ours.
"""

from __future__ import annotations

from hashlib import blake2b

from catalog.format.keys import Keys, derive
from mount.restore.target import TAG, mark_in, temporary_name

_SECOND = 1 << 62  # added to the numbers of files that are made in this process, after a helper may have failed


class TemporaryNames:
    """The temporary names of one job. `key` (32 bytes) is for helper processes."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._hash = blake2b(key=key, digest_size=TAG)

    @classmethod
    def of(cls, keys: Keys, job: bytes) -> TemporaryNames:
        """The names of a job (16 bytes) in the vault of these keys."""
        key = derive(keys.master, keys.vault_id, b"rpdrive/1 temporary names")
        return cls(blake2b(job, key=key, digest_size=32).digest())

    def name(self, mark: bytes) -> bytes:
        """The temporary name for a mark of 8 bytes."""
        keyed = self._hash.copy()
        keyed.update(mark)
        return temporary_name(mark, keyed.digest())

    def numbered(self, number: int, *, helper: bool = False) -> bytes:
        """The name for a file that no later run continues, by its FilePlan.number."""
        return self.name((number if helper else number | _SECOND).to_bytes(8, "big"))

    def made(self, name: bytes) -> bool:
        """Whether this job made a name."""
        mark = mark_in(name)
        return mark is not None and name == self.name(mark)

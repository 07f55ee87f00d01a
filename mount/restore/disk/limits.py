"""What a target as a whole can't keep: a restore lists each of these once, with the number of entries."""

HARD_LINKS = "the target can't make hard links, so these further names of files are copies"
SYMLINKS = "the target can't make symlinks, so these are missing"
OWNERS = "the target keeps no owners"
MODES = "the target keeps no permissions"
XATTRS = "the target keeps no such extended attributes"
ACLS = "the target keeps no ACLs"

LIMITS = frozenset({HARD_LINKS, SYMLINKS, OWNERS, MODES, XATTRS, ACLS})

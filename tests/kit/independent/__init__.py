"""A reader of vaults that was written from docs/format.md alone: it shares no code with the program."""

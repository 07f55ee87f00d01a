"""The mark: which blocks of a vault's packs its recovery points refer to. docs/prune-design.md, "Upkeep"."""

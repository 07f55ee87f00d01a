"""What keeps a vault: the store's own locks and versions, the vault's rules, and who may undo them."""

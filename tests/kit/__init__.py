"""What tests share: makers of sources, vaults, homes and drives, fault wrappers, stand-ins."""

"""Object stores: a local folder, Azure Blob Storage, memory, and wrappers with the same interface."""

"""Azure Blob Storage: the store, its tokens, its credentials."""

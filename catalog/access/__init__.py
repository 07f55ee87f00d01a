"""Opening a vault: sessions, settings, secrets, credentials."""

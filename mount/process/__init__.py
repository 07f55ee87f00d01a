"""The process behind a drive: starting it, its lifetime, its status, the registry of drives."""

"""Commands of the administrator of this machine that run around jobs."""

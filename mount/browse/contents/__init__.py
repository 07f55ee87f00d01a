"""The origin of file contents: it knows no session, only signed links."""

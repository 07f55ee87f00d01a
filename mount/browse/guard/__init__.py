"""Who may ask the page for what: hosts, sessions, signed links, and the headers of every answer."""

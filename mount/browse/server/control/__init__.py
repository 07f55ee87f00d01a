"""Orders to the process behind a page: through a socket, or through a pipe."""

"""How a drive is asked for its status and closed: by the table of mounts and a socket, or by a pipe."""

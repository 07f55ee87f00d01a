"""The process behind the page: its sockets, its orders, its end."""

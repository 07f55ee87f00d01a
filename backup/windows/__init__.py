"""Reading a Windows source."""

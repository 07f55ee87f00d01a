"""The operating systems that a backup reads from: an interface, and an implementation for each."""

"""What a backup reads from: the interface to an operating system, and one implementation for each."""

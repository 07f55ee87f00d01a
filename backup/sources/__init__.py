"""What a backup reads, by the kind of its item: files and folders, a volume, system state, an image of a disk."""

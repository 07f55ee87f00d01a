"""Disks, partitions and images of them: what is on them, who uses them, and loop devices."""

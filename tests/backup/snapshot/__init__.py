"""Snapshots on real btrfs, xfs and ext4, over loop devices."""

"""First backups that travel on disks: their record in the vault, the disks, and the way in."""

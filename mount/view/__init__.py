"""What a drive shows, defined once for all drivers: folders, files, versions, names."""

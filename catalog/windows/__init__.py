"""Windows metadata of files, as bytes and values: descriptors, reparse points, times, streams."""

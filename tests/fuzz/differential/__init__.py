"""The same bytes, split at every point, read by us and by others; what differs has to be listed."""

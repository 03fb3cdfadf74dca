"""Where a server listens."""

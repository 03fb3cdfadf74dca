"""What runs behind a `Server`."""

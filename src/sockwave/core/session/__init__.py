"""A connection: what the protocol does, and what the application holds."""

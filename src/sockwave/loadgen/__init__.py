"""The load generator (Linux): nothing of the server imports it."""

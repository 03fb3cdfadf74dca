"""The supervisor and its workers: several processes that serve the same addresses."""

"""The parts that run behind a `Server`."""

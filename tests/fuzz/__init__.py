"""Fuzzing of what a peer can send: guided by coverage, and by differences (`make fuzz`)."""

"""The attacks of the record, each against a server in a process of its own."""

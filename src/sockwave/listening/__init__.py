"""The listening sockets of a server, and their TLS certificates."""

"""Calls of ASGI applications for requests: the part of every request that is compiled."""

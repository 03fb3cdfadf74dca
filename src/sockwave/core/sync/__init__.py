"""Connections of threads without asyncio, on the same core."""

"""The client: `sockwave.connect`, on the same core as the server."""

"""What trusted proxies in front of the server tell about their clients."""

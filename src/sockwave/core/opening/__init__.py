"""From accept to the opening handshake, for the request that nearly every client sends."""

"""From accept to the opening handshake, for what nearly every client sends."""

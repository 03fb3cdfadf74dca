"""TLS between a transport and its bytes."""

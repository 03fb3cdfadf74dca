"""TLS: between a transport and the protocol's bytes."""

"""The client's side of the subprotocol `sockwave.1`: topics, from connection to connection."""

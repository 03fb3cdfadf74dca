"""The protocol as bytes: frames, messages, compression. No socket and no clock."""

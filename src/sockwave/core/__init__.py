"""The compiled core: it knows the protocol, and of the system only what `loop` and `transport` tell it."""

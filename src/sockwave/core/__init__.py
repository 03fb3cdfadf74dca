"""The compiled core: it knows the protocol; of the system only `loop` and `transport` know."""

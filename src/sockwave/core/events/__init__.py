"""Events: listeners, waiting tasks, and the connections that events are about."""

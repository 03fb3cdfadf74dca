"""Events: listeners, the contexts that they run in, and tasks that wait."""

"""Moving bytes: queues, timers, transports, and the turns of an engine."""

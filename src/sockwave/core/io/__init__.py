"""What carries bytes: queues, timers, and the turns of an engine."""

"""What `sockwave serve` and `sockwave.run` share: settings, targets, logging, and workers."""

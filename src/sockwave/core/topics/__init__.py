"""Who hears what: the topics of a worker, and the sequencer that puts their messages in order."""

from sockwave.core.events.waiter import Done
from sockwave.core.io.receiver import Receiver

VERSIONS: tuple[str, ...]
DONE: Done

class Sender(Receiver): ...

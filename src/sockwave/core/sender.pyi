from sockwave.core.receiver import Receiver
from sockwave.core.waiter import Done

VERSIONS: tuple[str, ...]
DONE: Done

class Sender(Receiver): ...

from sockwave.core.receiver import Receiver
from sockwave.core.writer import Done

VERSIONS: tuple[str, ...]
DONE: Done

class Sender(Receiver): ...

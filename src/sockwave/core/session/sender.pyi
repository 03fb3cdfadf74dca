from sockwave.core.events.waiter import Done
from sockwave.core.io.receiver import Receiver

DONE: Done

class Sender(Receiver): ...

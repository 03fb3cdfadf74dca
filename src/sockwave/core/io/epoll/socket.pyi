from sockwave.core.io.transport import Carrier

UNSENT_SIZE: int

class EpollSocket(Carrier): ...

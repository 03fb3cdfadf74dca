from sockwave.core.io.transport import Transport

UNSENT_SIZE: int

class EpollSocket(Transport): ...

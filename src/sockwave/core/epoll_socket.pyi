from sockwave.core.carrier import Carrier

UNSENT_SIZE: int

class EpollSocket(Carrier): ...

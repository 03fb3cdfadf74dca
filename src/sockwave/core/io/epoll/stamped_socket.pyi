from sockwave.core.io.arrival import Arrival
from sockwave.core.io.epoll.socket import EpollSocket

def stamp(fd: int) -> bool: ...

class StampedSocket(EpollSocket):
    arrival: Arrival

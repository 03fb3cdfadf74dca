from typing import Self

class OrderedTopic:
    name: bytes
    number: int
    def __new__(cls, name: bytes, number: int, serial: int, epoch: int) -> Self: ...

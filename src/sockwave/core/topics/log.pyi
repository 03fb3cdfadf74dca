from typing import Self

class Log:
    def __new__(cls, fd: int, area_size: int) -> Self: ...

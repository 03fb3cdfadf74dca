from sockwave.core.reader import Reader

class HixieReader(Reader):
    def __init__(self, max_size: int, has_close: bool) -> None: ...

KINDS: tuple[str, ...]

class Rendering:
    topic: str

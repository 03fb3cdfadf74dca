from sockwave.core.sealer import Sealer

PLAIN_HTTP: tuple[str, ...]

class Tls(Sealer): ...

from sockwave.core.tls.session import Sealer

PLAIN_HTTP: tuple[str, ...]

class Tls(Sealer): ...

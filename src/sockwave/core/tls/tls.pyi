from sockwave.core.tls.session import TlsSession

PLAIN_HTTP: tuple[str, ...]

class Tls(TlsSession): ...

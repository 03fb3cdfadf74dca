from sockwave.loadgen.exchange import Exchange
from sockwave.loadgen.load import Load

class OpenLoad(Load):
    def begin_at(
        self,
        exchange: Exchange,
        rate: float,
        *,
        ramp_s: float = 0.0,
        warmup_s: float = 0.0,
        one_sends: bool = False,
    ) -> None: ...
    def stop(self) -> None: ...
    def drain(self, seconds: float) -> int: ...

from collections.abc import Callable

from sockwave.core.http.request import Request
from sockwave.core.http.response import Response
from sockwave.core.http.settings import Taker

class FunctionTaker(Taker):
    def __init__(self, function: Callable[[Request, Response], object]) -> None: ...

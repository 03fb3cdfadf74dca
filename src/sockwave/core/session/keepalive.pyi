from sockwave.close import CloseCode

ENDINGS: dict[int, tuple[int, CloseCode, str]]

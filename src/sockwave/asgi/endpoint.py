"""x."""


def endpoint(handler: object) -> object:
    """X."""
    return handler

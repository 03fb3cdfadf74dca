"""x."""


def wsgi(application: object) -> object:
    """X."""
    return application

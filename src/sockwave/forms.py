"""The form of a page, as it is sent by POST: its fields and its files."""

from collections.abc import Mapping

from sockwave.errors import Refused
from sockwave.query import Params


class UploadedFile:
    """A file of a form: its bytes, and what the client calls it."""

    __slots__ = {
        "content": "All of its bytes.",
        "content_type": "Its type, as the client says.",
        "filename": "Its name, as the client says: anything, and no path to write to.",
    }

    def __init__(self, filename: str, content_type: str, content: bytes) -> None:
        self.filename = filename
        self.content_type = content_type
        self.content = content

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r} of {len(self.content)} bytes>"


class Form(Params):
    """The fields of a form by name; of a repeated field, the last one counts.

    `get_all(name)` returns all values of a field.
    """

    __slots__ = ("_files",)

    def __init__(
        self, values: dict[str, list[str]], files: dict[str, list[UploadedFile]] | None = None
    ) -> None:
        self._values = values
        self._files = files or {}

    @property
    def files(self) -> Mapping[str, list[UploadedFile]]:
        """The files by the name of their field, of which each may have several."""
        return self._files

    def __repr__(self) -> str:
        return f"Form({self._values!r}, {self._files!r})"


def refuse_count(field_count: int) -> Refused:
    """Return the refusal of a form with too many fields."""
    return Refused(413, f"expected a form of at most {field_count} fields\n")

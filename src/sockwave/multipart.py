"""Forms with files, by python-multipart: RFC 7578, the extra `forms`."""

from typing import Any, cast

from sockwave.errors import MalformedBody
from sockwave.forms import Form, UploadedFile, refuse_count

# The header fields of one part: real ones have two or three, in some hundred bytes.
_HEADER_SIZE = 8192


class MultipartForm:
    """Parses one multipart body.

    Raises ImportError without python-multipart, and MalformedBody (400) for a Content-Type without
    a boundary.
    """

    def __init__(self, content_type: str, field_count: int) -> None:
        try:
            from python_multipart import exceptions, multipart
        except ImportError:
            raise ImportError(
                "request.form: expected python-multipart for multipart/form-data, given none: "
                "pip install sockwave[forms]",
                name="python_multipart",
            ) from None
        self._module = multipart
        self._error = exceptions.FormParserError
        boundary = self._parse_options(content_type)[1].get(b"boundary")
        # RFC 2046, 5.1.1: 1 to 70 characters.
        if not boundary or len(boundary) > 70:
            raise MalformedBody("malformed form: expected a boundary\n")
        self._boundary = boundary
        self._field_count = field_count
        self._count = 0
        self._is_complete = False
        self._values: dict[str, list[str]] = {}
        self._files: dict[str, list[UploadedFile]] = {}
        self._begin_part()

    def _parse_options(self, value: str) -> tuple[bytes, dict[bytes, bytes]]:
        """Return a field's value and its parameters."""
        kind, options = self._module.parse_options_header(value.encode("latin-1"))
        return kind, options

    def parse(self, body: bytes) -> Form:
        """Return the form; raise Refused if it is malformed (400) or has too many fields (413)."""
        callbacks = {
            name.removeprefix("_"): getattr(self, name)
            for name in (
                "_on_part_begin",
                "_on_header_field",
                "_on_header_value",
                "_on_header_end",
                "_on_part_data",
                "_on_part_end",
                "_on_end",
            )
        }
        try:
            parser = self._module.MultipartParser(self._boundary, cast(Any, callbacks))
            parser.write(body)
            parser.finalize()
        except self._error as error:
            raise MalformedBody(f"malformed form: {error}\n") from None
        if not self._is_complete:
            raise MalformedBody("malformed form: expected a last boundary\n")
        return Form(self._values, self._files)

    def _begin_part(self) -> None:
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""
        self._header_size = 0
        self._content = bytearray()

    # ---- called by the parser

    def _on_part_begin(self) -> None:
        self._count += 1
        if self._count > self._field_count:
            raise refuse_count(self._field_count)
        self._begin_part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._add_header_size(end - start)
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._add_header_size(end - start)
        self._value += data[start:end]

    def _add_header_size(self, size: int) -> None:
        self._header_size += size
        if self._header_size > _HEADER_SIZE:
            raise MalformedBody(
                f"malformed form: more than {_HEADER_SIZE} bytes of header fields\n"
            )

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_part_end(self) -> None:
        # RFC 7578, 4.2: "Each part MUST contain a Content-Disposition header field where the
        # disposition type is "form-data"", with "an additional parameter of "name"".
        kind, options = self._parse_options(self._headers.get("content-disposition", ""))
        if kind.lower() != b"form-data" or b"name" not in options:
            raise MalformedBody("malformed form: expected a part with a name\n")
        name = options[b"name"].decode(errors="replace")
        filename = options.get(b"filename")
        if filename is None:
            text = self._content.decode(errors="replace")
            self._values.setdefault(name, []).append(text)
            return
        # RFC 7578, 4.4: "This field defaults to "text/plain"".
        kind_of_file = self._headers.get("content-type", "text/plain")
        file = UploadedFile(filename.decode(errors="replace"), kind_of_file, bytes(self._content))
        self._files.setdefault(name, []).append(file)

    def _on_end(self) -> None:
        self._is_complete = True

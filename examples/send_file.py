"""Files sent over a WebSocket, each as one message in pieces, written as it comes.

    python examples/send_file.py             # takes files
    python examples/send_file.py film.mp4    # sends one, and shows how far it is

Neither side ever holds more of a file than a few pieces, whatever its size.
"""

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import sockwave

FOLDER = Path(tempfile.mkdtemp(prefix="files-"))
PIECE_SIZE = 64 * 1024
MOST = 2**31

server = sockwave.create_server()


@server.route("/files")
async def take(conn: sockwave.Connection) -> None:
    name = (await conn.receive_json())["name"]
    digest, size, told = hashlib.sha256(), 0, 0
    with tempfile.NamedTemporaryFile(dir=FOLDER) as file:  # goes again where the client does
        async for piece in conn.stream(max_size=MOST):
            if isinstance(piece, str):
                raise TypeError("expected a binary message")
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            if size - told >= 2**20:
                told = size
                conn.send_json({"size": size})
        file.flush()
        with contextlib.suppress(FileExistsError):  # it has come before
            os.link(file.name, FOLDER / digest.hexdigest())  # a name of ours, not the client's
    conn.send_json({"name": name, "size": size, "sha256": digest.hexdigest()})


async def send(uri: str, name: str, file: BinaryIO) -> Any:
    """Send a file, and give what the server says of it in the end."""
    async with sockwave.connect(uri) as conn:
        conn.send_json({"name": name})
        sending = asyncio.create_task(send_pieces(conn, file))
        async for answer in conn.json():
            if "sha256" in answer:
                await sending
                return answer
            print(f"\r{name}: {answer['size']} bytes", end="", flush=True)
        raise ConnectionError("the server has left")


async def send_pieces(conn: sockwave.Connection, file: BinaryIO) -> None:
    async with conn.stream_message("binary") as message:
        while piece := file.read(PIECE_SIZE):
            await message.write(piece)


def main() -> None:
    if len(sys.argv) == 1:
        server.listen(8000, "127.0.0.1")
        server.run()
        return
    path = Path(sys.argv[1])
    with path.open("rb") as file:
        print("\n", asyncio.run(send("ws://127.0.0.1:8000/files", path.name, file)))


if __name__ == "__main__":
    main()

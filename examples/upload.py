"""Uploads of up to 200 MB, written as they come, and told of on a WebSocket.

python examples/upload.py
curl -T film.mp4 http://127.0.0.1:8000/files/film.mp4
"""

import hashlib
import os
import tempfile
from pathlib import Path

import sockwave

FOLDER = Path(tempfile.mkdtemp(prefix="uploads-"))

server = sockwave.create_server(body_size=200_000_000)


@server.put("/files/{name}")
async def upload(request: sockwave.Request) -> object:
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
        async for chunk in request:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    os.replace(file.name, FOLDER / digest.hexdigest())  # a name of ours, and not the client's
    told = {"name": request.path_params["name"], "size": size, "sha256": digest.hexdigest()}
    server.broadcast_json(told)
    return 201, told


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()

"""Quart: Flask's ways, made of coroutines."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from quart import (
    Blueprint,
    Quart,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    render_template_string,
    request,
    session,
    stream_with_context,
    url_for,
    websocket,
)

app = Quart(__name__, static_folder=None)
app.secret_key = "a secret"
app.config["MAX_CONTENT_LENGTH"] = 1_000_000

EVENTS: list[str] = []


@app.before_serving
async def prepare() -> None:
    app.config["PREPARED"] = "yes"


@app.after_request
async def add_header(response: Response) -> Response:
    response.headers["X-After"] = "yes"
    return response


@app.route("/")
async def index() -> str:
    return f"Hello, {app.config['PREPARED']}"


@app.route("/sync")
def in_thread() -> str:
    return "from a thread"


@app.route("/users/<name>/<int:number>")
async def user(name: str, number: int) -> Any:
    return {"name": name, "number": number, "url": url_for("user", name="ä b", number=1)}


@app.route("/query")
async def query() -> Any:
    return {"a": request.args.getlist("a"), "url": request.url, "root": request.root_path}


@app.route("/template")
async def template() -> str:
    return await render_template_string("<p>{{ name }}</p>", name="<ada>")


@app.post("/json")
async def read_json() -> Any:
    return jsonify(await request.get_json()), 201, {"X-Made": "yes"}


@app.post("/form")
async def read_form() -> Any:
    form, files = await request.form, await request.files
    found: dict[str, Any] = dict(form)
    for name, file in files.items():
        content = file.read()
        found[name] = [file.filename, file.content_type, len(content)]
    return found


@app.post("/body")
async def read_body() -> Any:
    size = 0
    async for data in request.body:
        size += len(data)
    return {"size": size}


@app.route("/stream")
async def stream() -> Any:
    @stream_with_context
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%s %d\n" % (request.method.encode(), number)

    return numbers(), 200, {"Content-Type": "text/plain"}


@app.route("/sse")
async def sse() -> Any:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    response = await make_response(numbers(), {"Content-Type": "text/event-stream"})
    response.timeout = None
    return response


@app.route("/count", methods=["GET", "DELETE"])
async def count() -> Any:
    if request.method == "DELETE":
        session.clear()
    else:
        session["count"] = session.get("count", 0) + 1
    return {"count": session.get("count")}


@app.route("/cookie")
async def cookie() -> Any:
    response = await make_response("cookie")
    response.set_cookie("a", "b", secure=True)
    return response


@app.route("/later")
async def later() -> str:
    async def work() -> None:
        await asyncio.sleep(0.001)
        EVENTS.append("background")

    app.add_background_task(work)
    return "later"


@app.route("/go")
async def go() -> Any:
    return redirect(url_for("index"))


@app.route("/abort/<int:code>")
async def refuse(code: int) -> None:
    abort(code)


@app.errorhandler(404)
async def not_found(error: Exception) -> Any:
    return {"error": "nothing here"}, 404


@app.route("/fails")
async def fails() -> None:
    raise ZeroDivisionError


@app.route("/events")
async def events() -> Any:
    return jsonify(EVENTS)


blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.route("/where")
async def where() -> Any:
    return {"path": request.path, "endpoint": request.endpoint}


app.register_blueprint(blueprint)


@app.websocket("/ws/echo")
async def echo() -> None:
    try:
        while True:
            await websocket.send(await websocket.receive())
    except asyncio.CancelledError:
        EVENTS.append("echo cancelled")
        raise


@app.websocket("/ws/accept")
async def accept() -> None:
    await websocket.accept(headers={"X-Accepted": "yes"}, subprotocol="two")
    await websocket.send_json(
        {"a": websocket.args.get("a"), "wants": websocket.requested_subprotocols}
    )
    await websocket.close(4000, "that is all")


@app.websocket("/ws/refuse")
async def refuse_socket() -> Any:
    return {"error": "no"}, 401


@app.websocket("/ws/abort")
async def abort_socket() -> None:
    abort(403)


@app.websocket("/ws/fails")
async def fail() -> None:
    await websocket.accept()
    await websocket.receive()
    raise ZeroDivisionError

"""FastAPI: parameters, models, dependencies, security, files, errors, WebSockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    status,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials, OAuth2PasswordBearer
from pydantic import BaseModel, Field

EVENTS: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"model": "loaded"}


app = FastAPI(lifespan=lifespan, title="Peers")
app.add_middleware(GZipMiddleware, minimum_size=1000)
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"])


@app.middleware("http")
async def add_header(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["X-Process"] = "done"
    return response


# ---- parameters


class Kind(StrEnum):
    small = "small"
    large = "large"


@app.get("/items/{number}")
async def item(
    number: Annotated[int, Path(ge=1)], q: Annotated[str | None, Query(max_length=5)] = None
) -> dict[str, Any]:
    return {"number": number, "q": q}


@app.get("/plain/{number}")
def plain(number: int) -> dict[str, int]:  # in a thread
    if number == 0:
        raise HTTPException(404, detail="no such item", headers={"X-Error": "there goes"})
    return {"number": number}


@app.get("/kinds/{kind}")
async def kinds(kind: Kind, tags: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006
    return {"kind": kind, "tags": tags}


@app.get("/files/{path:path}")
async def files(path: str) -> str:
    return path


@app.get("/seen")
async def seen(
    request: Request,
    x_token: Annotated[list[str] | None, Header()] = None,
    visit: Annotated[str | None, Cookie()] = None,
) -> dict[str, Any]:
    return {"tokens": x_token, "visit": visit, "model": request.state.model}


# ---- bodies


class Item(BaseModel):
    name: str = Field(min_length=1)
    price: float = Field(gt=0)
    tags: set[str] = set()
    inner: "Item | None" = None


@app.post("/items", status_code=201)
async def create(item: Item) -> Item:
    return item


@app.put("/items/{number}")
async def replace(number: int, item: Item, importance: Annotated[int, Body()]) -> dict[str, Any]:
    return {"number": number, "name": item.name, "importance": importance}


@app.patch("/items/{number}", response_model_exclude_unset=True)
async def change(number: int, item: Item) -> Item:
    return item


@app.delete("/items/{number}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(number: int) -> None:
    return None


@app.post("/login")
async def login(
    name: Annotated[str, Form()], password: Annotated[str, Form()], response: Response
) -> dict[str, str]:
    response.set_cookie("visit", name, httponly=True)
    return {"name": name}


@app.post("/upload")
async def upload(
    file: UploadFile, note: Annotated[str, Form()] = "", small: Annotated[bytes, File()] = b""
) -> dict[str, Any]:
    content = await file.read()
    return {
        "name": file.filename,
        "type": file.content_type,
        "size": len(content),
        "sum": sum(content),
    }


# ---- dependencies and security


async def session() -> AsyncIterator[str]:
    EVENTS.append("session begun")
    try:
        yield "a session"
    finally:
        EVENTS.append("session over")


@app.get("/dependent")
async def dependent(one: Annotated[str, Depends(session)]) -> str:
    return one


@app.get("/dependent-fails")
async def dependent_fails(one: Annotated[str, Depends(session)]) -> str:
    raise HTTPException(409, one)


basic = HTTPBasic()
oauth = OAuth2PasswordBearer(tokenUrl="token")


@app.get("/basic")
def who(credentials: Annotated[HTTPBasicCredentials, Depends(basic)]) -> str:
    return credentials.username


@app.get("/bearer")
async def bearer(token: Annotated[str, Depends(oauth)]) -> str:
    return token


# ---- responses


@app.get("/page", response_class=HTMLResponse)
async def page() -> str:
    return "<h1>page</h1>"


@app.get("/old", response_class=RedirectResponse, status_code=301)
async def old() -> str:
    return "/page"


@app.get("/many")
async def many() -> list[Item]:
    return [Item(name=f"item {n}", price=n + 1) for n in range(200)]


@app.get("/lines")
async def lines() -> StreamingResponse:
    async def numbers() -> AsyncIterator[str]:
        for number in range(5):
            yield f'{{"n": {number}}}\n'
            await asyncio.sleep(0.001)

    return StreamingResponse(numbers(), media_type="application/jsonl")


@app.post("/notify")
async def notify(tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(EVENTS.append, "notified")
    return {"message": "in the background"}


@app.get("/events")
async def events() -> list[str]:
    return EVENTS


# ---- errors


class UnicornError(Exception):
    pass


@app.exception_handler(UnicornError)
async def handle_unicorn(request: Request, error: UnicornError) -> JSONResponse:
    return JSONResponse({"oops": "unicorn"}, status_code=418)


@app.get("/unicorn")
async def unicorn() -> None:
    raise UnicornError


@app.get("/fails")
async def fails() -> None:
    raise ZeroDivisionError


@app.get("/fails-in-thread")
def fails_in_thread() -> None:
    raise ZeroDivisionError


@app.get("/wrong-model")
async def wrong_model() -> Item:
    return {"name": ""}  # type: ignore[return-value]


# ---- routers and applications below

router = APIRouter(prefix="/admin", tags=["admin"])


@router.get("/")
async def admin() -> str:
    return "admin"


app.include_router(router)
below = FastAPI(title="Below")


@below.get("/where")
async def where(request: Request) -> dict[str, str]:
    return {"root_path": request.scope["root_path"], "url": str(request.url)}


app.mount("/below", below)


# ---- WebSockets


async def token(websocket: WebSocket, token: str | None = None) -> str:
    if token is None:
        raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
    return token


@app.websocket("/ws/items/{number}")
async def talk(
    websocket: WebSocket, number: int, one: Annotated[str, Depends(token)], q: int = 0
) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{number} {one} {q} {text}")


class Manager:
    def __init__(self) -> None:
        self.active: list[WebSocket] = []

    async def broadcast(self, message: str) -> None:
        for one in self.active:
            await one.send_text(message)


manager = Manager()


@app.websocket("/ws/chat/{name}")
async def chat(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    manager.active.append(websocket)
    try:
        while True:
            await manager.broadcast(f"{name}: {await websocket.receive_text()}")
    except WebSocketDisconnect as gone:
        manager.active.remove(websocket)
        await manager.broadcast(f"{name} left: {gone.code}")


@app.websocket("/ws/json")
async def talk_json(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_json({"got": await websocket.receive_json()})

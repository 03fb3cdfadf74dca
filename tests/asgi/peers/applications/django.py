"""Django with Channels: views, middleware, sessions, messages between consumers."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings

FILES = Path(tempfile.mkdtemp(prefix="sockwave-peers-"))
(FILES / "large.bin").write_bytes(bytes(range(256)) * 2048)

settings.configure(
    SECRET_KEY="a secret",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions", "channels"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    USE_TZ=True,
)
django.setup()

from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from channels.sessions import SessionMiddlewareStack  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.http import (  # noqa: E402
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import engines  # noqa: E402
from django.urls import path, re_path, reverse  # noqa: E402
from django.views import View  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from django.views.decorators.http import condition, require_POST  # noqa: E402

EVENTS: list[str] = []


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello from Django")


async def index_async(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("Hello from a coroutine")


def article(request: HttpRequest, year: int, slug: str) -> JsonResponse:
    return JsonResponse(
        {
            "year": year,
            "slug": slug,
            "path": request.path,
            "full": request.get_full_path(),
            "absolute": request.build_absolute_uri(),
            "reversed": reverse("article", args=[2000, "x"]),
            "lists": dict(request.GET.lists()),
            "secure": request.is_secure(),
            "host": request.get_host(),
            "address": request.META["REMOTE_ADDR"],
        }
    )


def headers(request: HttpRequest) -> JsonResponse:
    found = {name: value for name, value in request.headers.items() if name.startswith("X-")}
    return JsonResponse(found)


def template(request: HttpRequest) -> HttpResponse:
    page = engines["django"].from_string("<p>{{ name }}</p>")
    return HttpResponse(page.render({"name": "<ada>"}, request))


@csrf_exempt
@require_POST
def post(request: HttpRequest) -> JsonResponse:
    found: dict[str, Any] = dict(request.POST.items())
    for name, file in request.FILES.items():
        content = file.read()
        found[name] = [file.name, file.content_type, len(content), sum(content)]
    return JsonResponse(found)


@csrf_exempt
async def body(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"size": len(request.body), "method": request.method})


def protected(request: HttpRequest) -> HttpResponse:
    return HttpResponse("not reached without a token")


@csrf_exempt
def count(request: HttpRequest) -> HttpResponse:
    if request.method == "DELETE":
        request.session.flush()
        return HttpResponse("flushed")
    request.session["count"] = request.session.get("count", 0) + 1
    response = HttpResponse(str(request.session["count"]))
    response.set_cookie("seen", "yes", max_age=60)
    return response


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"%d\n" % number
            await asyncio.sleep(0)

    return StreamingHttpResponse(numbers(), content_type="text/plain")


def stream_in_thread(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse((f"{n}\n" for n in range(10)), content_type="text/plain")


async def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick\n" * 100
                await asyncio.sleep(0.01)
        finally:
            EVENTS.append("endless over")

    return StreamingHttpResponse(ticks(), content_type="application/octet-stream")


async def wait(request: HttpRequest) -> HttpResponse:
    EVENTS.append("wait begun")
    try:
        await asyncio.sleep(2)
    except asyncio.CancelledError:
        EVENTS.append("wait cancelled")
        raise
    EVENTS.append("wait over")
    return HttpResponse("waited")


def download(request: HttpRequest) -> FileResponse:
    return FileResponse((FILES / "large.bin").open("rb"), as_attachment=True)


@condition(etag_func=lambda request: '"one"')
def tagged(request: HttpRequest) -> HttpResponse:
    return HttpResponse("tagged")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404


def denied(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def fails(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


async def fails_async(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def go(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("index"))


def events(request: HttpRequest) -> JsonResponse:
    return JsonResponse(EVENTS, safe=False)


class Thing(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("a thing")


urlpatterns = [
    path("", index, name="index"),
    path("async/", index_async),
    path("articles/<int:year>/<slug:slug>/", article, name="article"),
    path("headers/", headers),
    path("template/", template),
    path("post/", post),
    path("body/", body),
    path("protected/", protected),
    path("count/", count),
    path("stream/", stream),
    path("stream-in-thread/", stream_in_thread),
    path("endless/", endless),
    path("wait/", wait),
    path("download/", download),
    path("tagged/", tagged),
    path("missing/", missing),
    path("denied/", denied),
    path("fails/", fails),
    path("fails-async/", fails_async),
    path("go/", go),
    path("thing/", Thing.as_view()),
    path("events", events),
]


# ---- Channels


class Chat(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send(text_data="joined")

    async def disconnect(self, code: int) -> None:
        EVENTS.append(f"chat left: {code}")
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "text": message})

    async def chat_message(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


class Echo(WebsocketConsumer):  # in a thread
    def connect(self) -> None:
        wanted = self.scope["subprotocols"]
        self.accept(subprotocol=wanted[0] if wanted else None)

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "close":
            self.close(code=4123, reason="as asked")
        else:
            self.send(text_data=text_data, bytes_data=bytes_data)


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **rest: Any) -> None:
        await self.send_json({"got": content, "count": self.scope["session"].get("count")})


class Refusing(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


class Failing(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        raise ZeroDivisionError


class Events(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_headers(headers=[(b"Content-Type", b"text/event-stream")])
        for number in range(3):
            await self.send_body(b"data: %d\n\n" % number, more_body=True)
        await self.send_body(b"")


app = ProtocolTypeRouter(
    {
        "http": URLRouter([path("sse/", Events.as_asgi()), re_path(r"", get_asgi_application())]),
        "websocket": AllowedHostsOriginValidator(
            SessionMiddlewareStack(
                URLRouter(
                    [
                        path("ws/chat/<str:room>/", Chat.as_asgi()),
                        path("ws/echo/", Echo.as_asgi()),
                        path("ws/json/", Json.as_asgi()),
                        path("ws/refuse/", Refusing.as_asgi()),
                        path("ws/fails/", Failing.as_asgi()),
                    ]
                )
            )
        ),
    }
)

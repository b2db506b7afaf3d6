from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from marks import MARKS, PIECES

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.security.SecurityMiddleware"],
)
django.setup()


@require_safe
async def json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"hello": "world"})


def sync(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"hello": "thread"})


async def item(request: HttpRequest, number: int) -> HttpResponse:
    return JsonResponse({"number": number, "q": request.GET.get("q", "")})


@csrf_exempt
def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse(request.POST.dict())


@csrf_exempt
async def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece
            await asyncio.sleep(0.001)

    return StreamingHttpResponse(pieces())


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[str]:
        yield from PIECES

    return StreamingHttpResponse(pieces())


@csrf_exempt
async def background(request: HttpRequest) -> HttpResponse:
    asyncio.get_running_loop().call_later(0.01, MARKS.append, "background")
    return JsonResponse("accepted", safe=False)


async def marks(request: HttpRequest) -> HttpResponse:
    return JsonResponse(MARKS, safe=False)


async def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("an error of the application")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(os.environ["SAMPLE_FILE"], "rb"))


urlpatterns = [
    path("json", json),
    path("sync", sync),
    path("items/<int:number>", item),
    path("form", form),
    path("echo", echo),
    path("stream", stream),
    path("sync_stream", sync_stream),
    path("background", background),
    path("marks", marks),
    path("error", error),
    path("file", file),
]

app = get_asgi_application()

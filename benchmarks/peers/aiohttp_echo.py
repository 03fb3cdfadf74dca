"""Echo with aiohttp; the access log is off, compression unless it is asked for.

``--silent`` makes it a server that takes messages and does nothing. ``--zlib zlib-ng`` is what its
documentation recommends for speed.
"""

import argparse
import asyncio

import aiohttp
from aiohttp import WSMsgType, web
from serving import create_context, parse_arguments, run

ARGUMENTS = web.AppKey("arguments", argparse.Namespace)


async def accept(request: web.Request) -> web.WebSocketResponse:
    arguments = request.app[ARGUMENTS]
    response = web.WebSocketResponse(
        compress=arguments.compression, max_msg_size=arguments.max_size
    )
    await response.prepare(request)
    return response


async def echo(request: web.Request) -> web.WebSocketResponse:
    response = await accept(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response


async def ignore(request: web.Request) -> web.WebSocketResponse:
    response = await accept(request)
    async for _ in response:
        pass
    return response


async def main(arguments: argparse.Namespace) -> None:
    application = web.Application()
    application[ARGUMENTS] = arguments
    application.router.add_get("/", ignore if arguments.silent else echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    context = create_context(arguments)
    site = web.TCPSite(runner, "127.0.0.1", arguments.port, backlog=4096, ssl_context=context)
    await site.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.zlib == "zlib-ng":
        from zlib_ng import zlib_ng

        aiohttp.set_zlib_backend(zlib_ng)
    run(main(arguments), arguments.loop)

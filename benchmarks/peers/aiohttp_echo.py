"""Echo with aiohttp; the access log is off, compression unless it is asked for.

``--zlib zlib-ng`` is what its documentation recommends for speed.
"""

import asyncio

import aiohttp
from aiohttp import WSMsgType, web
from serving import parse_arguments, run

COMPRESSION = web.AppKey("compression", bool)


async def echo(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse(compress=request.app[COMPRESSION])
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response


async def main(port: int, compression: bool) -> None:
    application = web.Application()
    application[COMPRESSION] = compression
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.zlib == "zlib-ng":
        from zlib_ng import zlib_ng

        aiohttp.set_zlib_backend(zlib_ng)
    run(main(arguments.port, arguments.compression), arguments.loop)

"""Every message goes to everybody with aiohttp: a loop over the responses, as in its examples."""

import asyncio

from aiohttp import WSMsgType, web
from serving import parse_arguments, run

RESPONSES = web.AppKey("responses", set[web.WebSocketResponse])


async def chat(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse(compress=False)
    await response.prepare(request)
    everybody = request.app[RESPONSES]
    everybody.add(response)
    try:
        async for message in response:
            if message.type is WSMsgType.TEXT:
                for other in tuple(everybody):
                    await other.send_str(message.data)
    finally:
        everybody.discard(response)
    return response


async def main(port: int) -> None:
    application = web.Application()
    application[RESPONSES] = set()
    application.router.add_get("/", chat)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments.port), arguments.loop)

"""Load a server, check every reply, and tell what it cost.

Each connection sends a batch of --depth messages in one write, waits for all of the replies, and
sends the next. With --speaker the first connection alone sends, and every message has to come to
all of them; with --every each connection sends when its turn comes; with --handshakes connections
are opened, again and again, and nothing is sent. With --idle they are opened and held. With
--silent the server answers nothing but a ping behind each batch. With --http the messages are
requests, of which --depth are pipelined; each answer has to be a 200 with the same body of --reply
bytes.

Prints a line of JSON for each event ("open", then "result"); what is wrong goes to stderr, with
exit status 1. Runs on Linux.
"""

import argparse
import json
import select
import ssl
import sys
import time
from typing import Any

import http_requests
from samples import Sample, Server, take_sample

from sockwave.loadgen import documents
from sockwave.loadgen.client import LoadError, Target
from sockwave.loadgen.exchange import Exchange, SilentExchange
from sockwave.loadgen.http import HttpExchange
from sockwave.loadgen.load import Load

SETTLE_S = 0.02
"""A server that uses no processor time for so long has dealt with what came."""
SETTLE_LIMIT_S = 5.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, required=True)
    add("--connections", type=int, default=64)
    add("--size", type=int, default=20, help="bytes of a message (default %(default)s)")
    add("--depth", type=int, default=1, help="messages of a batch; handshakes at once")
    add("--binary", action="store_true", help="binary messages instead of text")
    add("--tls", action="store_true", help="wss, whatever the certificate")
    add("--deflate", metavar="OFFER", help="Sec-WebSocket-Extensions; the messages are JSON")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--speaker", action="store_true", help="one sends, all have to hear it")
    shape.add_argument("--every", type=float, default=0.0, help="seconds between two of its turns")
    shape.add_argument("--handshakes", action="store_true", help="open, again and again")
    shape.add_argument("--idle", type=float, help="seconds to hold the connections, or until EOF")
    add("--silent", action="store_true", help="nothing is echoed: a pong answers for a batch")
    add("--talk", action="store_true", help="with --idle: each sends a batch first")
    add("--http", action="store_true", help="requests of HTTP/1.1 in place of messages")
    add("--path", default="/", help="their target (default %(default)s)")
    add("--body", type=int, default=0, help="bytes of JSON: POST in place of GET")
    add("--browser", action="store_true", help="with 16 more fields, those of a browser")
    add("--close", action="store_true", help="with Connection: close, each on its own connection")
    add("--reply", type=int, default=12, help="bytes of an answer's body (default %(default)s)")
    add("--warmup", type=float, default=0.5, help="seconds of load before the measured time")
    add("--seconds", type=float, default=3.0, help="measured (default %(default)s)")
    add("--messages", type=int, default=2**63, help="the most that are measured")
    add("--server-pid", type=int, help="whose processor time and memory are told")
    add("--patience", type=float, default=10.0, help="seconds without a reply (default 10)")
    add("--per-address", type=int, default=20_000, help="connections from one local address")
    return parser.parse_args()


def make_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def make_target(options: argparse.Namespace) -> Target:
    context = make_context(options)
    return Target(options.host, options.port, context, options.deflate, not options.http)


def make_exchange(options: argparse.Namespace, agreement: str | None) -> Exchange:
    """Make what is said, which with compression depends on what was agreed on."""
    sender_count = 1 if options.speaker else options.connections
    settings = (options.size, options.depth, options.binary, sender_count)
    if agreement is None:
        return SilentExchange(*settings) if options.silent else Exchange(*settings)
    return documents.make_exchange(agreement, *settings)


def make_requests(options: argparse.Namespace) -> HttpExchange:
    """Make the request, ask it once, and expect that answer from then on."""
    request = http_requests.compose(options)
    body = http_requests.fetch(options, request, make_context(options))
    return HttpExchange(request, body, options.depth, options.close)


def tell(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def tell_result(
    load: Load, count: int, used: Sample, server: Server | None, reply_bytes: int = 0
) -> None:
    """Print the figures of the measured time; `count` is of messages, or of handshakes."""
    ticks_s = used.server_user_s + used.server_system_s
    user_share = used.server_user_s / ticks_s if ticks_s else 0.0
    latencies = load.latencies
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    tell(
        "result",
        messages=count,
        seconds=used.wall_s,
        client_cpu_s=used.client_s,
        server_cpu_s=used.server_s,
        server_user_s=used.server_s * user_share,
        server_system_s=used.server_s * (1 - user_share),
        server_waited_s=used.server_waited_s,
        server_rss_bytes=server.resident_size() if server else 0,
        reply_bytes=reply_bytes,
        latency_us={key: latencies.percentile_us(share) for key, share in shares.items()}
        | {"max": latencies.greatest_us},
    )


def run_load(load: Load, exchange: Exchange, options: argparse.Namespace) -> None:
    """Speak, and measure while the load is steady."""
    load.begin(exchange, one_sends=options.speaker, every_s=options.every)
    load.run(options.warmup)
    server = Server.known_as(options.server_pid)  # with all that it has started by now
    received_size = exchange.received_size
    before = take_sample(server)
    load.run(options.seconds, options.messages)
    used = take_sample(server) - before
    tell_result(load, load.count, used, server, exchange.received_size - received_size)
    load.finish()
    if not options.http:
        load.send_close()
    time.sleep(0.1)


def hold(load: Load, options: argparse.Namespace) -> None:
    """Hold the connections until the time is over, or stdin says something or ends."""
    select.select([sys.stdin], [], [], options.idle)
    load.check_silence()


def settle(server: Server | None) -> None:
    """Wait until a server is idle."""
    if server is None:
        time.sleep(SETTLE_S)
        return
    end = time.monotonic() + SETTLE_LIMIT_S
    used_s = -1.0
    while time.monotonic() < end and used_s != (used_s := server.cpu_s()):
        time.sleep(SETTLE_S)


def run_handshakes(load: Load, options: argparse.Namespace) -> None:
    """Open all connections in rounds; closing them is outside of the measured time."""
    server = Server.known_as(options.server_pid)
    total = take_sample(server)
    total -= total
    count = 0
    end = time.monotonic() + options.warmup
    is_warm = False
    while not is_warm or total.wall_s < options.seconds:
        before = take_sample(server)
        load.open(options.depth, options.per_address)
        if is_warm:
            total += take_sample(server) - before
            count += options.connections
        load.close(reset=True)
        settle(server)
        is_warm = is_warm or time.monotonic() > end
    tell_result(load, count, total, server)


def main() -> int:
    options = parse_arguments()
    target = make_target(options)
    load = Load(target, options.connections, options.patience)
    try:
        if options.handshakes:
            run_handshakes(load, options)
            return 0
        requests = make_requests(options) if options.http else None
        load.open(address_count=options.per_address)
        exchange = requests or make_exchange(options, load.agreement)
        if options.talk:
            load.send_once(exchange)
        tell("open", connections=options.connections, request_size=len(target.request))
        if options.idle is None:
            run_load(load, exchange, options)
        else:
            hold(load, options)
        load.close()
    except (LoadError, OSError, ValueError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

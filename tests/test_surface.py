"""The public surface, closed: each public class shows what is documented, and nothing else."""

import inspect
import re
from pathlib import Path

import pytest

import sockwave

DOCS = Path(__file__).parents[1] / "docs"

EMITTER = """
    on once off listeners add_listener remove_listener addListener removeListener
"""
CONNECTION = """
    send write receive stream stream_message broadcast backlog_size dropped_count
    close abort create_task ping latency id version subprotocol ready_state is_open request
    wait_closed
    remote_address local_address carrier is_secure tls close_code close_reason data
    subscribe unsubscribe topics path_params send_json broadcast_json json receive_json
"""
TUPLE = " count index"
HEAD = "method target path path_params query http_version params headers cookies origin raw"
ERROR = "args with_traceback add_note"

SURFACE = {
    sockwave.AcceptedSocket: "remote_address local_address close",
    sockwave.Backoff: "first most factor",
    sockwave.ClientConnection: EMITTER + CONNECTION + " lag response_headers",
    sockwave.Connection: EMITTER + CONNECTION,
    sockwave.ConnectionClosed: ERROR,
    sockwave.Deflate: """
        threshold level memory_level server_max_window_bits client_max_window_bits
        server_context_takeover server_history_size client_context_takeover
    """,
    sockwave.Delivery: "topic message position kind id" + TUPLE,
    sockwave.EventStream: "send end is_open on",
    sockwave.Form: "get get_all keys values items files",
    sockwave.Handshake: "request version subprotocol add_header headers refuse connection",
    sockwave.HandshakeError: ERROR,
    sockwave.HandshakeRefused: ERROR,
    sockwave.Headers: "get get_all get_tokens keys values items",
    sockwave.Health: """
        status broker deaf_count lost_count bad_count dropped_count unknown_count is_deaf
    """
    + TUPLE,
    sockwave.History: "count size ttl",
    sockwave.IncomingMessage: "is_text",
    sockwave.InvalidJSON: ERROR,
    sockwave.Limits: """
        max_connections max_connections_per_address max_handshakes memory_budget handshake_timeout
        request_line_size header_count header_block_size body_size body_timeout answer_timeout
        keep_alive_timeout pipelined_count max_size fragment_count message_rate byte_rate
        control_rate control_burst queue_count queue_size listen_timeout max_tasks finish_timeout
        max_finishing high_water low_water max_backlog write_timeout close_timeout ping_interval
        ping_timeout idle_timeout max_lifetime lifetime_jitter subscription_count pattern_count
        topic_name_size topic_count history_budget append_size
    """,
    sockwave.Member: "key data" + TUPLE,
    sockwave.MemberChange: "kind key data topic" + TUPLE,
    sockwave.OutgoingMessage: "write",
    sockwave.Position: "epoch offset parse" + TUPLE,
    sockwave.Published: "position local_count" + TUPLE,
    sockwave.Publisher: "",
    sockwave.Refused: ERROR,
    sockwave.Request: HEAD + " body is_secure remote_address json form last_event_id",
    sockwave.RequestHead: HEAD,
    sockwave.Response: """
        write_head write end send_file status headers_sent json redirect set_cookie delete_cookie
        event_stream on
    """,
    sockwave.Server: EMITTER
    + """
        listen listen_fds mount static reload_tls addresses handle_with run serve_forever start
        options
        broadcast dropped_count limit_hits connections close call_threadsafe broadcast_threadsafe
        loop topic publish count client_script route get post put patch delete head
        broadcast_json is_closing wait_closing wait_closed health
    """,
    sockwave.SockwaveError: ERROR,
    sockwave.Subscribed: "position recovered" + TUPLE,
    sockwave.TLSInfo: "version cipher alpn peer_certificate server_name",
    sockwave.Topic: "publish append finish members count on off",
    sockwave.TopicConnection: EMITTER
    + CONNECTION
    + """
        lag response_headers publish append finish members deliveries receive_delivery
    """,
    sockwave.UploadedFile: "filename content_type content",
}
# Of a package of its own.
SYNC = """
    send recv ping close abort id version ready_state is_open request response_headers subprotocol
    data tls is_secure remote_address local_address latency lag backlog_size dropped_count
    close_code close_reason
"""
SYNC_TOPICS = """
    subscribe unsubscribe topics members publish append finish deliveries receive_delivery
    member_changes receive_member_change
"""
# What an object has besides its class.
OWN = {
    "ConnectionClosed": (sockwave.ConnectionClosed(1000), "code reason"),
    "InvalidJSON": (sockwave.InvalidJSON("", ""), "message"),
    "HandshakeRefused": (
        sockwave.HandshakeRefused(403, sockwave.Headers(), b""),
        "status body headers",
    ),
    "Refused": (sockwave.Refused(), "status body headers"),
    "Server": (sockwave.create_server(), ""),
    "Topic": (sockwave.create_server().topic("room"), "name"),
}
ENUMS = (sockwave.CloseCode, sockwave.ReadyState)
# Pages for those whose fields are options.
PAGES = {sockwave.Limits: "options.md", sockwave.Deflate: "messages.md"}


def shown(what: object) -> list[str]:
    return [name for name in dir(what) if not name.startswith("_")]


def documented(page: str) -> set[str]:
    """Give the words that stand as code on a page."""
    text = (DOCS / page).read_text("utf-8")
    return {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", span)}


def test_every_public_class_is_pinned() -> None:
    classes = {
        value
        for name in sockwave.__all__
        if inspect.isclass(value := getattr(sockwave, name)) and value not in ENUMS
    }
    assert classes == set(SURFACE)


@pytest.mark.parametrize("public", SURFACE, ids=lambda public: public.__name__)
def test_a_class_shows_what_is_documented_and_nothing_else(public: type) -> None:
    names = SURFACE[public].split()
    assert shown(public) == sorted(names)
    if not issubclass(public, Exception):
        assert set(names) <= documented(PAGES.get(public, "reference.md"))


@pytest.mark.parametrize("name", OWN)
def test_an_object_shows_what_is_documented_and_nothing_else(name: str) -> None:
    one, added = OWN[name]
    names = added.split()
    assert shown(one) == sorted([*SURFACE[type(one)].split(), *names])
    assert set(names) <= documented("reference.md")


def test_a_connection_of_threads_shows_what_is_documented_and_nothing_else() -> None:
    assert sockwave.sync.__all__ == ["Connection", "Connector", "TopicConnection", "connect"]
    assert shown(sockwave.sync.Connector) == ["close", "open"]
    assert shown(sockwave.sync.Connection) == sorted(SYNC.split())
    with_topics = SYNC.split() + SYNC_TOPICS.split()
    assert shown(sockwave.sync.TopicConnection) == sorted(with_topics)
    assert set(with_topics) <= documented("client.md")

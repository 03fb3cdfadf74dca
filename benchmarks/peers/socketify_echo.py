"""Echo with socketify: uWebSockets under Python, in the loop of its own (libuv)."""

from serving import parse_arguments
from socketify import App, AppListenOptions, AppOptions, CompressOptions, OpCode, WebSocket


def echo(connection: WebSocket, message: str | bytes, code: OpCode) -> None:
    connection.send(message, code)


if __name__ == "__main__":
    arguments = parse_arguments()
    options = None
    if arguments.tls_cert:
        options = AppOptions(cert_file_name=arguments.tls_cert, key_file_name=arguments.tls_key)
    shared, off = CompressOptions.SHARED_COMPRESSOR, CompressOptions.DISABLED
    application = App(options, websocket_factory_max_items=20_000)
    application.ws(
        "/*",
        {
            "compression": shared if arguments.compression else off,
            "max_payload_length": arguments.max_size,
            "max_backpressure": 4 * arguments.max_size,
            "idle_timeout": 0,
            "message": echo,
        },
    )
    application.listen(AppListenOptions(port=arguments.port, host="127.0.0.1"), lambda _: None)
    application.run()

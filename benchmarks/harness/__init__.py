"""What every benchmark needs: servers, load, rounds, and a table of what came out.

A script describes `Question`s; `answer` asks them of all servers in turn and prints. `ask` and what
it gives are for scripts that make more of it.
"""

from harness.bench import Bench, add_arguments, add_deflate, compress, encrypt, prepare
from harness.machine import compile_program, describe_machine
from harness.peers import PEERS, Choice, Peer, choose_peers
from harness.processes import (
    FAILURES,
    BenchmarkError,
    Process,
    UnableError,
    find_port,
    parse_event,
    serve,
    start_client,
    wait_until_it_accepts,
)
from harness.progress import show_progress
from harness.rounds import Answer, Question, Row, Run, ask, repeat
from harness.sockets import open_websocket
from harness.tables import (
    answer,
    format_spread,
    print_answer,
    print_preface,
    print_table,
    to_json,
    write_results,
)

__all__ = [
    "FAILURES",
    "PEERS",
    "Answer",
    "Bench",
    "BenchmarkError",
    "Choice",
    "Peer",
    "Process",
    "Question",
    "Row",
    "Run",
    "UnableError",
    "add_arguments",
    "add_deflate",
    "answer",
    "ask",
    "choose_peers",
    "compile_program",
    "compress",
    "describe_machine",
    "encrypt",
    "find_port",
    "format_spread",
    "open_websocket",
    "parse_event",
    "prepare",
    "print_answer",
    "print_preface",
    "print_table",
    "repeat",
    "serve",
    "show_progress",
    "start_client",
    "to_json",
    "wait_until_it_accepts",
    "write_results",
]

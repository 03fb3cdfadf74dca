"""Which socket of a SO_REUSEPORT group gets a new connection: a program for the kernel (Linux).

Without one, the kernel spreads connections over all sockets of the group, also over those of
workers that are dead or about to end, where clients would wait. The program is classic BPF, which
needs no privilege: it draws one of the sockets at random, and every socket as often.
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence

# asm-generic/socket.h; Python's socket module does not have it.
_SO_ATTACH_REUSEPORT_CBPF = 51

# linux/filter.h: struct sock_filter and struct sock_fprog, and the instructions that are used.
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD, _MODULO, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x94, 0x15, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM


def steer(sock: socket.socket, places: Sequence[int]) -> bool:
    """Have the group of `sock` give new connections to the sockets at these places in it alone.

    A group numbers its sockets from 0, in the order in which they began to listen. Returns False
    where the system cannot do this.
    """
    if sys.platform != "linux" or not places:
        return False
    instructions = [(_LOAD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(places))]
    for drawn, place in enumerate(places[:-1]):
        instructions += [(_JUMP_IF_EQUAL, 0, 1, drawn), (_RETURN, 0, 0, place)]
    instructions.append((_RETURN, 0, 0, places[-1]))
    code = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _PROGRAM.pack(len(instructions), ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
    except OSError:
        return False
    return True

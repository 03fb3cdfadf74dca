"""The states of a connection, as an application sees them."""

from enum import IntEnum

from sockwave.documented import OwnNames


class ReadyState(IntEnum, metaclass=OwnNames):
    """The states of a connection, from its opening request to its end."""

    UNKNOWN = 0  #: no request has been read yet
    OPENING = 1  #: the opening request has been read
    WAITING = 2  #: a draft-76 client has yet to send the last eight bytes of its handshake
    HANDSHAKING = 3  #: the application decides on the answer
    CONNECTED = 4  #: the connection can send and receive
    CLOSED = 5  #: nothing more can be sent: the closing handshake has begun, or all is over

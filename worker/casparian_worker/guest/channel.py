"""The one connection between a worker and a guest: TCP on the loopback, both ends made here.

The guest's end is handed over as an inherited descriptor, so nobody else can ever connect and a guest needs no right to.
"""

from __future__ import annotations

import socket

_ACCEPT_SECONDS = 5.0


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """(ours, theirs). The listener is closed before this returns; a stranger who was quicker is hung up on."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        listener.settimeout(_ACCEPT_SECONDS)
        theirs = socket.create_connection(listener.getsockname(), timeout=_ACCEPT_SECONDS)
        expected = theirs.getsockname()
        try:
            while True:
                ours, peer = listener.accept()
                if peer == expected:
                    break
                ours.close()
        except BaseException:
            theirs.close()
            raise
    for end in (ours, theirs):
        end.setblocking(True)
    return ours, theirs

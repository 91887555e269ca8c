"""A program in a guest's place: says what it is told to on the guest's socket, and ends as it is told to.

Started by a worker instead of the launcher, with the launcher's arguments. What to send is the job's input, byte for byte;
the job's parameters say how (`hello`, `claims`, `pace`, `then`). Standard library only, and little of it: it must start quickly.
"""

import json
import os
import signal
import socket
import struct
import sys
import time

HELLO = 0xFFFFFFFA


def frame_of(header: int, text: bytes) -> bytes:
    return struct.pack(">II", header, len(text)) + text


def say(sock: socket.socket, data: bytes, pace: str) -> None:
    """All of it, as far as the other side still listens."""
    try:
        if pace == "byte by byte":
            for position in range(len(data)):
                sock.sendall(data[position : position + 1])
        elif pace == "in two":
            half = len(data) // 2
            sock.sendall(data[:half])
            time.sleep(0.05)
            sock.sendall(data[half:])
        else:
            sock.sendall(data)
    except OSError:
        return


def end(sock: socket.socket, then: str) -> None:
    match then.split():
        case ["exit", status]:
            os._exit(int(status))
        case ["signal", number]:
            signal.signal(int(number), signal.SIG_DFL) if number not in ("9", "19") else None
            os.kill(os.getpid(), int(number))
        case ["reset"]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            os._exit(0)
        case ["shut"]:
            sock.shutdown(socket.SHUT_RDWR)
            os._exit(0)
        case ["child"]:  # leaves somebody behind who holds the connection and the pipes
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(300)
            os._exit(0)
        case ["leaves", "a", "daemon"]:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(300)
            os._exit(0)
        case ["noise"]:  # bytes that are not text on the other descriptors
            os.write(1, b"\xff\x1b]0;x\x07\n" * 2000)
            os.write(2, "‮no newline".encode() + b"\x9b" * 100)
            os._exit(0)
    time.sleep(300)


def main() -> None:
    with open(int(sys.argv[2]), "rb") as description:
        job = json.loads(description.read())
    how = job["params"]
    sock = socket.socket(fileno=job["socket_fd"])
    with open(job["input_path"], "rb") as given:
        data = given.read()
    hello = {"protocol": 1, "token": job["token"], "pid": os.getpid(), "python": "3"}
    hello.update(how.get("claims", {}))
    greeting = b"" if how.get("hello") == "none" else frame_of(HELLO, json.dumps(hello).encode())
    data = data.replace(b"@" * len(job["token"]), job["token"].encode())  # what could not be known before
    say(sock, greeting + data, str(how.get("pace", "")))
    end(sock, str(how.get("then", "exit 0")))


main()

"""Does in the build sandbox what the connection plugin asks for; standard input is a listening socket."""

import os
import socket
import struct
import subprocess
import sys
import threading

CHUNK = 1 << 20


def exactly(peer, count):
    parts = []
    while count:
        part = peer.recv(min(count, CHUNK))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def length(peer):
    return struct.unpack(">Q", exactly(peer, 8))[0]


def frame(peer):
    return exactly(peer, length(peer))


def answer(peer, status, *frames):
    # In one piece: who has read an empty last frame's length has read everything, and may be gone.
    lengths = [struct.pack(">Q", len(one)) for one in frames]
    parts = [part for pair in zip(lengths, frames) for part in pair]
    peer.sendall(struct.pack(">i", status) + b"".join(parts))


def execute(peer):
    command, given = frame(peer), frame(peer)
    done = subprocess.run(["/bin/sh", "-c", command], input=given, capture_output=True, cwd="/")
    answer(peer, done.returncode, done.stdout, done.stderr)


def put(peer):
    path, left = frame(peer), length(peer)
    failure = None
    try:
        file = open(path, "wb")
    except OSError as error:
        # What comes is read all the same: who sends it reads no answer before it is sent.
        failure, file = error, open(os.devnull, "wb")
    with file:
        while left:
            part = exactly(peer, min(left, CHUNK))
            left -= len(part)
            try:
                file.write(part)
            except OSError as error:
                failure, file = error, open(os.devnull, "wb")
    if failure:
        raise failure
    answer(peer, 0, b"")


def fetch(peer):
    with open(frame(peer), "rb") as file:
        contents = file.read()
    answer(peer, 0, contents)


def serve(peer):
    with peer:
        try:
            kind = exactly(peer, 1)
            if kind == b"q":
                os._exit(exactly(peer, 1)[0])
            try:
                {b"x": execute, b"p": put, b"f": fetch}[kind](peer)
            except OSError as error:
                answer(peer, 1, str(error).encode())
        except (EOFError, OSError, KeyError, ValueError) as error:
            print("hornero: the connection to Ansible broke:", repr(error), file=sys.stderr)


listener = socket.socket(fileno=os.dup(0))
# What runs must not reach the socket.
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

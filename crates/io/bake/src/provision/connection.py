"""Lets Ansible work in a build sandbox of Hornero, through a socket and without SSH."""

DOCUMENTATION = """
    name: hornero_build
    short_description: works in the sandbox of a bake
    description:
        - Commands and files go through a Unix socket to an agent in the sandbox.
    author: Hornero
    extends_documentation_fragment:
        - connection_pipelining
    options: {}
"""

import os
import socket
import struct

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

CHUNK = 1 << 20
# What one command may answer: it is held in memory here.
MOST = 256 << 20


def raw(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class Agent:
    def __init__(self):
        try:
            self.peer = socket.socket(socket.AF_UNIX)
            self.peer.connect("/run/hornero/agent")
        except OSError as error:
            raise AnsibleConnectionFailure("the build sandbox has ended: %s" % error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()

    def send(self, *parts):
        try:
            for part in parts:
                self.peer.sendall(part)
        except OSError as error:
            raise AnsibleConnectionFailure("the build sandbox has ended: %s" % error)

    def frame(self, contents):
        contents = raw(contents)
        # In one piece: the agent may answer and go before an empty rest is sent.
        self.send(struct.pack(">Q", len(contents)) + contents)

    def read(self, count):
        parts = []
        while count:
            try:
                part = self.peer.recv(min(count, CHUNK))
            except OSError as error:
                raise AnsibleConnectionFailure("the build sandbox has ended: %s" % error)
            if not part:
                raise AnsibleConnectionFailure("the build sandbox has ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def status(self):
        return struct.unpack(">i", self.read(4))[0]

    def answer(self):
        count = struct.unpack(">Q", self.read(8))[0]
        if count > MOST:
            raise AnsibleError("a task answered %d bytes; at most %d are read" % (count, MOST))
        return self.read(count)


class Connection(ConnectionBase):
    transport = "hornero_build"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def close(self):
        self._connected = False

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        with Agent() as agent:
            agent.send(b"x")
            agent.frame(cmd)
            agent.frame(in_data or b"")
            return agent.status(), agent.answer(), agent.answer()

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        if not os.path.exists(raw(in_path)):
            raise AnsibleFileNotFound("there is no file %s" % in_path)
        with open(raw(in_path), "rb") as file, Agent() as agent:
            size = os.fstat(file.fileno()).st_size
            agent.send(b"p")
            agent.frame(out_path)
            agent.send(struct.pack(">Q", size))
            while size:
                part = file.read(min(size, CHUNK))
                if not part:
                    raise AnsibleError("%s became shorter while it was read" % in_path)
                agent.send(part)
                size -= len(part)
            self._check(agent, "write", out_path)

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        with Agent() as agent:
            agent.send(b"f")
            agent.frame(in_path)
            contents = self._check(agent, "read", in_path)
        with open(raw(out_path), "wb") as file:
            file.write(contents)

    def _check(self, agent, verb, path):
        status, contents = agent.status(), agent.answer()
        if status:
            text = contents.decode("utf-8", "replace")
            raise AnsibleError("the build sandbox can't %s %s: %s" % (verb, path, text))
        return contents

"""WebSockets by the library of that name: a server, and clients through an edge by HTTP/1.1 and, with h2, by HTTP/2 (RFC 8441)."""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.sync.client import connect
from websockets.sync.server import serve

BIG = bytes(range(256)) * 8192


def answer(connection):
    if connection.request.path == "/close":
        connection.close(4001, "as asked")
        return
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosedError:
        pass  # With a code of the client's own.


def serve_for_ever(host, port):
    def refuse(connection, request):
        return connection.respond(418, "no\n") if request.path == "/refuse" else None

    with serve(
        answer, host, port, subprotocols=["chat"], process_request=refuse, max_size=len(BIG)
    ) as server:
        server.serve_forever()


def by_http1(host, port):
    place = f"ws://{host}:{port}"
    with connect(f"{place}/", subprotocols=["other", "chat"], max_size=len(BIG)) as connection:
        assert connection.subprotocol == "chat"
        assert "permessage-deflate" in connection.response.headers["Sec-WebSocket-Extensions"]
        for message in ["", "text \u00e4 \u20ac", b"", b"\x00\xff", BIG]:
            connection.send(message)
            assert connection.recv(timeout=60) == message
        connection.send(part for part in ["in ", "several ", "frames"])
        assert connection.recv(timeout=60) == "in several frames"
        assert connection.ping().wait(timeout=60)
        for number in range(1000):
            connection.send(str(number))
        assert [connection.recv(timeout=60) for _ in range(1000)] == [str(n) for n in range(1000)]
        connection.close(4000, "done")
        try:
            connection.recv(timeout=60)
            raise AssertionError("it is not closed")
        except ConnectionClosedError as closed:
            assert closed.rcvd == Close(4000, "done"), closed
    with connect(f"{place}/", subprotocols=["chat"], compression=None) as connection:
        connection.send(b"plain")
        assert connection.recv(timeout=60) == b"plain"
        connection.close()
        try:
            connection.recv(timeout=60)
            raise AssertionError("it is not closed")
        except ConnectionClosedOK as closed:
            assert closed.rcvd.code == 1000, closed
    with connect(f"{place}/close", subprotocols=["chat"]) as connection:
        try:
            connection.recv(timeout=60)
            raise AssertionError("it is not closed")
        except ConnectionClosedError as closed:
            assert closed.rcvd == Close(4001, "as asked"), closed
    try:
        connect(f"{place}/refuse", subprotocols=["chat"])
        raise AssertionError("it is not refused")
    except InvalidStatus as error:
        assert error.response.status_code == 418, error.response
        assert error.response.body == b"no\n", error.response


class Http2:
    """A connection of HTTP/2 with WebSockets on its streams."""

    def __init__(self, host, port):
        self.host = f"{host}:{port}"
        self.socket = socket.create_connection((host, port), timeout=60)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.statuses, self.data, self.ended = {}, {}, set()
        self.until(lambda: self.setting() == 1)

    def setting(self):
        return self.connection.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)

    def until(self, condition):
        while True:
            self.socket.sendall(self.connection.data_to_send())
            if condition():
                return
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            for event in self.connection.receive_data(data):
                self.see(event)

    def see(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[event.stream_id] = dict(event.headers)
        if isinstance(event, h2.events.DataReceived):
            self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.flow_controlled_length:
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
        if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self.ended.add(event.stream_id)

    def open(self, path, protocol="websocket"):
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(
            stream,
            [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "http"),
                (":authority", self.host),
                (":path", path),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat"),
            ],
        )
        self.until(lambda: stream in self.statuses)
        return stream, self.statuses[stream]

    def send(self, stream, opcode, data):
        frame = Frame(opcode, data).serialize(mask=True)
        while frame:
            room = lambda: min(
                self.connection.local_flow_control_window(stream),
                self.connection.max_outbound_frame_size,
            )
            self.until(lambda: room() > 0)
            self.connection.send_data(stream, frame[: room()])
            frame = frame[room() :] if len(frame) > room() else b""

    def receive(self, stream, count):
        self.until(lambda: len(self.data.get(stream, b"")) >= count)
        came = self.data[stream]
        data, self.data[stream] = bytes(came[:count]), came[count:]
        return data


def by_http2(host, port):
    client = Http2(host, port)
    streams = []
    for _ in range(3):
        stream, head = client.open("/")
        assert head[":status"] == "200", head
        assert head["sec-websocket-protocol"] == "chat", head
        assert "sec-websocket-accept" not in head, head
        streams.append(stream)
    for stream in streams:
        client.send(stream, Opcode.TEXT, f"stream {stream}".encode())
    for stream in reversed(streams):
        text = f"stream {stream}".encode()
        assert client.receive(stream, 2 + len(text)) == bytes([0x81, len(text)]) + text
    client.send(streams[0], Opcode.PING, b"there?")
    assert client.receive(streams[0], 8) == b"\x8a\x06there?"
    for stream in streams:
        client.send(stream, Opcode.CLOSE, Close(4000, "done").serialize())
        assert client.receive(stream, 8) == b"\x88\x06" + Close(4000, "done").serialize()
        client.until(lambda: stream in client.ended)
    _, head = client.open("/refuse")
    assert head[":status"] == "418", head
    _, head = client.open("/", "webtransport")
    assert head[":status"] == "405", head


def main(what, host, port):
    if what == "serve":
        serve_for_ever(host, int(port))
    by_http1(host, int(port))
    by_http2(host, int(port))
    print("every socket")


main(*sys.argv[1:])

"""HTTP/2 as no good client speaks it, frame by frame, against an edge: what it must answer, and that it goes on serving."""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import hpack
from hyperframe import frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
# RFC 9113 names the first; the edge's library says the second of what it can't read.
SIZE = FRAME_SIZE_ERROR, PROTOCOL_ERROR
HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")]
# One that the server does not answer before its mistake is seen.
POST = [(":method", "POST"), *HEAD[1:3], (":path", "/wait?2000")]
EDGE = None


class Client:
    """A connection that sends what it is told and keeps what comes."""

    def __init__(self, settings=True):
        self.socket = socket.create_connection(EDGE, timeout=20)
        self.encoder = hpack.Encoder()
        self.came = b""
        self.send(PREFACE)
        if settings:
            self.frame(frames.SettingsFrame(0))

    def send(self, data):
        try:
            self.socket.sendall(data)
            return True
        except (ConnectionError, TimeoutError):
            return False

    def frame(self, frame):
        return self.send(frame.serialize())

    def headers(self, stream, fields=HEAD, end=True, **others):
        flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
        data = self.encoder.encode(fields)
        return self.frame(frames.HeadersFrame(stream, data, flags=flags, **others))

    def frames(self):
        """Every frame up to the end of the connection."""
        while True:
            while len(self.came) >= 9:
                head, length = frames.Frame.parse_frame_header(memoryview(self.came[:9]))
                if len(self.came) < 9 + length:
                    break
                head.parse_body(memoryview(self.came[9 : 9 + length]))
                self.came = self.came[9 + length :]
                yield head
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return
            if not data:
                return
            self.came += data

    def outcome(self, stream):
        """What becomes of the connection or of a stream: its error or its status."""
        decoder = hpack.Decoder()
        for frame in self.frames():
            if isinstance(frame, frames.GoAwayFrame):
                return "connection", frame.error_code
            if isinstance(frame, frames.RstStreamFrame) and frame.stream_id == stream:
                return "stream", frame.error_code
            if isinstance(frame, frames.HeadersFrame):
                status = dict(decoder.decode(frame.data))[":status"]
                if frame.stream_id == stream:
                    return "status", int(status)
        return "connection", None


def is_served():
    """Whether a client that does nothing wrong gets its answer."""
    good = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    with socket.create_connection(EDGE, timeout=20) as connection:
        good.initiate_connection()
        good.send_headers(1, HEAD, end_stream=True)
        connection.sendall(good.data_to_send())
        status, body = None, b""
        while data := connection.recv(65536):
            for event in good.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"]
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                if isinstance(event, h2.events.StreamEnded):
                    return status == b"200" and body == b"one"
            connection.sendall(good.data_to_send())
    return False


def connection(*codes):
    return [("connection", code) for code in codes]


def stream(*codes):
    return [("stream", code) for code in codes]


def status(*codes):
    return [("status", code) for code in codes]


def raw(kind, flags, stream_id, body):
    """A frame that hyperframe would not write."""
    return len(body).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + body


CASES = []


def case(*expected, of=1):
    """A case whose stream `of` must end in one of these ways; 0 is none but the connection."""

    def add(function):
        CASES.append((function, of, [outcome for some in expected for outcome in some]))
        return function

    return add


# RFC 9113, 5.1: states of streams.
@case(connection(PROTOCOL_ERROR))
def data_on_an_idle_stream(client):
    client.frame(frames.DataFrame(1, b"a"))


@case(connection(PROTOCOL_ERROR))
def a_reset_of_an_idle_stream(client):
    client.frame(frames.RstStreamFrame(1, error_code=CANCEL))


@case(connection(PROTOCOL_ERROR))
def a_window_update_of_an_idle_stream(client):
    client.frame(frames.WindowUpdateFrame(1, window_increment=1))


@case(connection(PROTOCOL_ERROR))
def an_even_stream(client):
    client.headers(2)


@case(connection(PROTOCOL_ERROR, STREAM_CLOSED))
def a_stream_below_the_last(client):
    client.headers(5)
    client.headers(3)


@case(connection(STREAM_CLOSED, PROTOCOL_ERROR), stream(STREAM_CLOSED), status(200))
def data_behind_the_end(client):
    client.headers(1)
    client.frame(frames.DataFrame(1, b"a"))


@case(connection(PROTOCOL_ERROR), of=0)
def a_push_promise(client):
    data = client.encoder.encode(HEAD)
    promise = frames.PushPromiseFrame(1, promised_stream_id=2, data=data, flags=["END_HEADERS"])
    client.headers(1, POST, end=False)
    client.frame(promise)


# RFC 9113, 4 and 6: frames.
@case(connection(FRAME_SIZE_ERROR), of=0)
def a_frame_beyond_the_size(client):
    client.headers(1, POST, end=False)
    client.send(raw(0, 0, 1, bytes(16385)))


@case(connection(*SIZE))
def settings_of_five_bytes(client):
    client.send(raw(4, 0, 0, bytes(5)))


@case(connection(*SIZE))
def an_acknowledgement_with_settings(client):
    client.send(raw(4, 1, 0, bytes(6)))


@case(connection(*SIZE))
def a_ping_of_six_bytes(client):
    client.send(raw(6, 0, 0, bytes(6)))


@case(connection(PROTOCOL_ERROR))
def a_ping_on_a_stream(client):
    client.send(raw(6, 0, 1, bytes(8)))


@case(connection(PROTOCOL_ERROR))
def settings_on_a_stream(client):
    client.send(raw(4, 0, 1, b""))


@case(connection(PROTOCOL_ERROR))
def data_on_no_stream(client):
    client.send(raw(0, 0, 0, b"a"))


@case(connection(PROTOCOL_ERROR))
def headers_on_no_stream(client):
    client.send(raw(1, 5, 0, client.encoder.encode(HEAD)))


@case(connection(PROTOCOL_ERROR), of=0)
def padding_beyond_the_frame(client):
    client.headers(1, POST, end=False)
    client.send(raw(0, 8, 1, b"\xffa"))


@case(connection(PROTOCOL_ERROR))
def a_continuation_of_nothing(client):
    client.frame(frames.ContinuationFrame(1, client.encoder.encode(HEAD)))


@case(connection(PROTOCOL_ERROR))
def headers_that_another_frame_interrupts(client):
    client.frame(frames.HeadersFrame(1, client.encoder.encode(HEAD)))
    client.frame(frames.PingFrame(0, b"12345678"))


@case(connection(PROTOCOL_ERROR), stream(PROTOCOL_ERROR))
def a_window_update_of_nothing(client):
    client.headers(1, POST, end=False)
    client.send(raw(8, 0, 1, bytes(4)))


@case(connection(FLOW_CONTROL_ERROR))
def a_window_beyond_all(client):
    client.frame(frames.WindowUpdateFrame(0, window_increment=2**31 - 1))


@case(connection(FLOW_CONTROL_ERROR, PROTOCOL_ERROR))
def an_initial_window_beyond_all(client):
    client.frame(frames.SettingsFrame(0, {frames.SettingsFrame.INITIAL_WINDOW_SIZE: 2**31}))


@case(connection(PROTOCOL_ERROR))
def a_frame_size_below_the_least(client):
    client.frame(frames.SettingsFrame(0, {frames.SettingsFrame.MAX_FRAME_SIZE: 100}))


@case(status(200))
def frames_and_settings_that_nobody_knows(client):
    client.frame(frames.SettingsFrame(0, {0xBEEF: 7}))
    client.send(raw(0xBE, 0xEF, 0, b"what ever"))
    client.headers(1)


# RFC 9113, 8: messages.
def bad_head(name, fields, *expected):
    def send(client):
        client.headers(1, fields)

    send.__name__ = name
    case(*expected)(send)


MALFORMED = stream(PROTOCOL_ERROR), connection(PROTOCOL_ERROR), status(400)
bad_head("a_name_in_capitals", [*HEAD, ("X-A", "b")], *MALFORMED)
bad_head("a_field_of_the_connection", [*HEAD, ("connection", "close")], *MALFORMED)
bad_head("transfer_encoding", [*HEAD, ("transfer-encoding", "chunked")], *MALFORMED)
bad_head("te_other_than_trailers", [*HEAD, ("te", "gzip")], *MALFORMED)
bad_head("a_pseudo_field_behind_others", [*HEAD[:3], ("a", "b"), HEAD[3]], *MALFORMED)
bad_head("a_pseudo_field_twice", [*HEAD, HEAD[3]], *MALFORMED)
bad_head("a_pseudo_field_of_answers", [*HEAD, (":status", "200")], *MALFORMED)
bad_head("no_path", HEAD[:3], *MALFORMED)
bad_head("an_empty_path", [*HEAD[:3], (":path", "")], *MALFORMED)
bad_head("no_method", HEAD[1:], *MALFORMED)
bad_head("a_line_end_in_a_value", [*HEAD, ("a", "b\r\nx: y")], *MALFORMED)
bad_head("a_zero_in_a_value", [*HEAD, ("a", "b\0")], *MALFORMED)
bad_head("two_hosts", [*HEAD, ("host", "other.test")], *MALFORMED)
bad_head("a_value_that_begins_with_a_blank", [*HEAD, ("a", " b")], *MALFORMED)
bad_head("a_length_that_is_none", [*POST, ("content-length", "+1")], *MALFORMED)


@case(*MALFORMED)
def more_body_than_its_length(client):
    client.headers(1, [*POST, ("content-length", "1")], end=False)
    client.frame(frames.DataFrame(1, b"too much", flags=["END_STREAM"]))


@case(connection(COMPRESSION_ERROR, PROTOCOL_ERROR))
def a_table_entry_that_is_not_there(client):
    client.send(raw(1, 5, 1, b"\xff\xff\x7f"))


# Floods. Each ends in the end of the connection, or the edge bears it.
@case(connection(ENHANCE_YOUR_CALM), of=0)
def rapid_resets(client):
    """CVE-2023-44487."""
    for number in range(20_000):
        if not client.headers(2 * number + 1):
            return
        if not client.frame(frames.RstStreamFrame(2 * number + 1, error_code=CANCEL)):
            return


@case(connection(ENHANCE_YOUR_CALM, STREAM_CLOSED, PROTOCOL_ERROR), of=0)
def resets_that_the_server_is_made_to_send(client):
    """CVE-2025-8671."""
    for number in range(20_000):
        client.headers(2 * number + 1)
        if not client.frame(frames.DataFrame(2 * number + 1, b"a")):
            return


@case(connection(PROTOCOL_ERROR, ENHANCE_YOUR_CALM, COMPRESSION_ERROR, None), status(431))
def continuations_without_end(client):
    """CVE-2024-27316."""
    client.frame(frames.HeadersFrame(1, client.encoder.encode(HEAD), flags=["END_STREAM"]))
    for _ in range(10_000):
        if not client.frame(frames.ContinuationFrame(1, b"\x00\x01a\x7f\x81\x07" + bytes(260))):
            return


@case(connection(PROTOCOL_ERROR, ENHANCE_YOUR_CALM, None), stream(PROTOCOL_ERROR), status(431))
def a_small_head_that_unpacks_to_megabytes(client):
    """CVE-2016-6581: one entry of the table, named again and again."""
    data = client.encoder.encode([*HEAD, ("a", "b" * 4000)])
    entry = client.encoder.encode([("a", "b" * 4000)])
    client.frame(frames.HeadersFrame(1, data + entry * 8_000, flags=["END_STREAM"]))
    client.frame(frames.ContinuationFrame(1, b"", flags=["END_HEADERS"]))


@case(status(200), connection(ENHANCE_YOUR_CALM, None))
def settings_without_end(client):
    """CVE-2019-9515."""
    for _ in range(20_000):
        if not client.frame(frames.SettingsFrame(0)):
            return
    client.headers(1)


@case(status(200), connection(ENHANCE_YOUR_CALM, None))
def pings_without_end(client):
    """CVE-2019-9512."""
    for _ in range(20_000):
        if not client.frame(frames.PingFrame(0, b"12345678")):
            return
    client.headers(1)


@case(status(200), connection(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, None), stream(ENHANCE_YOUR_CALM))
def empty_data_without_end(client):
    """CVE-2019-9518."""
    client.headers(1, POST, end=False)
    for _ in range(20_000):
        if not client.frame(frames.DataFrame(1, b"")):
            return
    client.frame(frames.DataFrame(1, b"", flags=["END_STREAM"]))


@case(status(200))
def windows_that_never_open(client):
    """CVE-2019-9511: answers that nobody takes, on as many streams as there may be."""
    client.frame(frames.SettingsFrame(0, {frames.SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    fields = [*HEAD[:3], (":path", "/big?1000000")]
    for number in range(100):
        client.headers(2 * number + 1, fields)


def main(host, port):
    global EDGE
    EDGE = (host, int(port))
    assert is_served(), "before anything"
    failed = 0
    for function, of, expected in CASES:
        client = Client()
        function(client)
        outcome = client.outcome(of)
        client.socket.close()
        served = is_served()
        if outcome not in expected or not served:
            failed += 1
            print(f"{function.__name__}: {outcome}, not one of {expected}; others are served: {served}")
    print(f"{len(CASES) - failed} of {len(CASES)}")
    sys.exit(failed > 0)


main(*sys.argv[1:])

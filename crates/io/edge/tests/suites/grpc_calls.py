"""gRPC by grpcio: a server on a port of HTTP/2, and a client that calls it through an edge."""

import sys
import threading
import time
from concurrent import futures

import grpc

MEGABYTE = bytes(range(256)) * 4096


def echo(request, context):
    context.set_trailing_metadata((("x-length", str(len(request))),))
    context.send_initial_metadata((("x-server", "python"),))
    return request


def count(request, _):
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, _):
    return str(sum(int(request) for request in requests)).encode()


def talk(requests, _):
    for request in requests:
        yield request.upper()


def refuse(request, context):
    context.set_trailing_metadata((("x-why-bin", b"\x00\xff"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: \u00e4 \u20ac")


def refuse_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


CANCELLED = threading.Event()


def sleep(request, context):
    context.add_callback(CANCELLED.set)
    time.sleep(3)
    return b"late"


def was_cancelled(request, context):
    return str(CANCELLED.wait(20)).encode()


def serve(address):
    calls = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "RefuseLate": grpc.unary_stream_rpc_method_handler(refuse_late),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    handler = grpc.method_handlers_generic_handler("test.Calls", calls)
    server.add_generic_rpc_handlers((handler,))
    assert server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was not refused")


def call(channel):
    unary = lambda name: channel.unary_unary(f"/test.Calls/{name}")
    deadline = {"timeout": 60}

    answer, done = unary("Echo").with_call(b"hello", **deadline)
    assert answer == b"hello"
    assert ("x-server", "python") in done.initial_metadata(), done.initial_metadata()
    assert ("x-length", "5") in done.trailing_metadata(), done.trailing_metadata()
    assert unary("Echo")(b"", **deadline) == b""
    assert unary("Echo")(MEGABYTE, **deadline) == MEGABYTE

    numbers = list(channel.unary_stream("/test.Calls/Count")(b"1000", **deadline))
    assert numbers == [str(number).encode() for number in range(1000)]
    total = channel.stream_unary("/test.Calls/Add")(
        (str(number).encode() for number in range(1000)), **deadline
    )
    assert total == b"499500", total

    # Each answer is awaited before the next question, so both directions are open at once.
    answered = threading.Semaphore(1)

    def questions():
        for word in [b"one", b"two", MEGABYTE[:100_000].lower(), b"three"]:
            assert answered.acquire(timeout=60)
            yield word

    answers = []
    for answer in channel.stream_stream("/test.Calls/Talk")(questions(), **deadline):
        answers.append(answer)
        answered.release()
    assert len(answers) == 4 and answers[1] == b"TWO" and answers[3] == b"THREE", answers

    error = refused(lambda: unary("Refuse")(b"", **deadline))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not now: \u00e4 \u20ac", error
    assert ("x-why-bin", b"\x00\xff") in error.trailing_metadata(), error
    late = channel.unary_stream("/test.Calls/RefuseLate")(b"", **deadline)
    assert next(late) == b"one"
    error = refused(lambda: next(late))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    error = refused(lambda: unary("Nothing")(b"", **deadline))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    # A client that waits no longer: the server learns of it.
    error = refused(lambda: unary("Sleep")(b"", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert unary("WasCancelled")(b"", **deadline) == b"True"

    many = [unary("Echo").future(str(number).encode(), **deadline) for number in range(300)]
    assert [future.result() for future in many] == [str(number).encode() for number in range(300)]


def main(what, address):
    if what == "serve":
        serve(address)
    with grpc.insecure_channel(address) as channel:
        call(channel)
    print("every call")


main(*sys.argv[1:])

"""A receiver of OTLP over HTTP that takes JSON: checks each request against OpenTelemetry's own messages and tells, a line each, what
came; answers as `HOW` in the directory says for as long as that file is there.

    otlp_receiver.py DIRECTORY
"""

import base64
import http.server
import json
import pathlib
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

REQUESTS = {
    "/v1/metrics": metrics.ExportMetricsServiceRequest,
    "/v1/logs": logs.ExportLogsServiceRequest,
    "/v1/traces": trace.ExportTraceServiceRequest,
}
IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
directory = pathlib.Path(sys.argv[1])


def with_bytes(value):
    """Ids are hexadecimal in OTLP's JSON, and base64 in that of protobuf."""
    if isinstance(value, list):
        return [with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {}
    for key, one in value.items():
        if key in IDS:
            raw = bytes.fromhex(one)
            assert len(raw) == IDS[key] and any(raw), (key, one)
            one = base64.b64encode(raw).decode()
        changed[key] = with_bytes(one)
    return changed


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        how = directory / "HOW"
        status, answer, headers = 200, {}, {}
        if how.exists():
            status, answer, headers = json.loads(how.read_text())
        if status == 200:
            assert self.headers["content-type"] == "application/json"
            request = REQUESTS[self.path]()
            json_format.ParseDict(with_bytes(json.loads(body)), request)
            told = {
                "path": self.path,
                "token": self.headers["authorization"],
                "request": json_format.MessageToDict(request),
            }
            with open(directory / "received", "a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        else:
            with open(directory / "refused", "a", encoding="utf-8") as file:
                file.write(self.path + "\n")
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
(directory / "port.new").write_text(str(server.server_address[1]))
(directory / "port.new").rename(directory / "port")
server.serve_forever()

"""A collector of spans, which reads the protocol by `opentelemetry-proto`. What has come it tells at `/received`.

What stands behind `/v1/traces` in the path says how it behaves: `/busy` is busy the first time, `/strict` wants a field,
`/picky` rejects a span of each batch.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

port, certificate = int(sys.argv[1]), sys.argv[2]
received = []
attempts = []


def values(attributes):
    return {a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in attributes}


def span(one):
    status = one.status.code if one.HasField("status") else 0
    return {
        "trace": one.trace_id.hex(),
        "id": one.span_id.hex(),
        "parent": one.parent_span_id.hex(),
        "name": one.name,
        "kind": one.kind,
        "start": one.start_time_unix_nano,
        "end": one.end_time_unix_nano,
        "attributes": values(one.attributes),
        "status": status,
        "flags": one.flags,
    }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, content, kind, fields=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(200, json.dumps({"batches": received, "attempts": len(attempts)}).encode(), "application/json")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        attempts.append(self.path)
        if self.path.endswith("/busy") and len(attempts) == 1:
            return self.answer(503, b"busy", "text/plain", [("Retry-After", "0")])
        if self.path.endswith("/strict") and self.headers.get("X-Tenant") != "acme":
            return self.answer(401, b"who are you?", "text/plain")
        message = ExportTraceServiceRequest()
        message.ParseFromString(raw)
        [resource] = message.resource_spans
        [scope] = resource.scope_spans
        received.append({
            "fields": dict(self.headers),
            "path": self.path,
            "resource": values(resource.resource.attributes),
            "scope": MessageToDict(scope.scope),
            "spans": [span(one) for one in scope.spans],
            "raw": raw.decode("latin-1"),
            "same": message.SerializeToString() == raw,
        })
        answer = ExportTraceServiceResponse()
        if self.path.endswith("/picky"):
            answer.partial_success.rejected_spans = 1
        self.answer(200, answer.SerializeToString(), "application/x-protobuf")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Collector)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate + ".crt", certificate + ".key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()

"""A receiver of webhooks: HTTPS, and an independent check of every signature.

Usage: receiver.py CERT KEY SECRET REFUSALS [ADDRESS PORT]  (CERT `-`: plain HTTP)

Prints its port, then one JSON line for each request. The first REFUSALS requests are answered with
503, the rest with 204.
"""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import time

cert, key, secret, refusals = sys.argv[1:5]
place = (sys.argv[5], int(sys.argv[6])) if sys.argv[5:] else ("127.0.0.1", 0)
left = [int(refusals)]


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        ident, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        wanted = hmac.new(
            base64.b64decode(secret.removeprefix("whsec_")),
            b".".join([ident.encode(), stamp.encode(), body]),
            hashlib.sha256,
        ).digest()
        given = [s.split(",", 1) for s in self.headers["webhook-signature"].split(" ")]
        good = any(
            v == "v1" and hmac.compare_digest(base64.b64decode(s), wanted) for v, s in given
        )
        status = 503 if left[0] > 0 else 204
        left[0] -= 1
        print(
            json.dumps(
                {
                    "id": ident,
                    "path": self.path,
                    "host": self.headers["host"],
                    "type": self.headers["content-type"],
                    "good": good,
                    "fresh": abs(time.time() - int(stamp)) < 60,
                    "status": status,
                    "body": json.loads(body),
                }
            ),
            flush=True,
        )
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(place, Receiver)
if cert != "-":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()

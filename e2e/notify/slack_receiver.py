"""What looks like Slack from outside: the API's methods, an incoming webhook, places for answers.

Usage: slack_receiver.py TOKEN BUSY [HOST PORT]

Every message is checked by Slack's own models of blocks. The first BUSY messages are answered with 429.
Prints its port, then one JSON line for each request.
"""

import http.server
import json
import sys
import threading

from slack_sdk.models.blocks import Block

TOKEN, busy = sys.argv[1], [int(sys.argv[2])]
count, whole = [0], threading.Lock()


def problem(blocks):
    """What Slack's models say against some blocks."""
    try:
        parsed = Block.parse_all(blocks)
        assert len(parsed) == len(blocks) <= 50, f"{len(parsed)} of {len(blocks)} blocks are known"
        for block in parsed:
            block.validate_json()
        for text in texts(blocks):
            assert len(text.encode("utf-16-le")) // 2 <= 3000, "a text is too long"
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"
    return None


def texts(value):
    """Every text in it."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "text" and isinstance(one, str):
                yield one
            else:
                yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


class Receiver(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer, headers = 200, {"ok": True}, {}
        if self.path.startswith("/api/"):
            if self.headers["authorization"] != f"Bearer {TOKEN}":
                answer = {"ok": False, "error": "invalid_auth"}
            elif self.path == "/api/chat.postMessage" and busy[0] > 0:
                busy[0] -= 1
                status, answer, headers = 429, {"ok": False, "error": "ratelimited"}, {"retry-after": "1"}
            elif self.path == "/api/chat.postMessage":
                count[0] += 1
                answer |= {"channel": "C0RESOLVED", "ts": f"1700000000.{count[0]:06d}"}
        line = json.dumps({"path": self.path, "status": status, "body": body, "ts": answer.get("ts"),
                           "problem": problem(body.get("blocks", []))})
        with whole:
            print(line, flush=True)
        text = json.dumps(answer).encode() if self.path.startswith("/api/") else b"ok"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


HOST, PORT = sys.argv[3:] or ("127.0.0.1", "0")
server = http.server.ThreadingHTTPServer((HOST, int(PORT)), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()

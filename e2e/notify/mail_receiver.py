"""A mail server: SMTP with STARTTLS, which it requires, and a login, which it requires too.

Usage: mail_receiver.py CERT KEY USER PASSWORD

Prints its port, then one JSON line for each letter.
"""

import json
import socket
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

cert, key, user, password = sys.argv[1:5]


class Handler:
    """Takes letters."""

    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                          "login": session.authenticated, "letter": envelope.content.decode()}), flush=True)
        return "250 OK"


def authenticator(server, session, envelope, mechanism, data):
    """The one login there is."""
    good = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
controller = Controller(Handler(), hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True,
                        auth_required=True, authenticator=authenticator)
controller.start()
print(port, flush=True)
while True:
    time.sleep(3600)

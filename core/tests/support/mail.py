"""What the tests' mail server does with mail: Debian's aiosmtpd runs it (`aiosmtpd -c mail.Letters`).

Each letter becomes a line of JSON on the standard output. Mail to `nobody@` any domain is refused,
mail to `slow@` any domain is never answered, and only alice's password is right. The server ends
when its standard input does: with the test that has the other end.
"""

import asyncio
import json
import os
import sys
import threading

from aiosmtpd.smtp import AuthResult, LoginPassword


def check(server, session, envelope, mechanism, login):
    right = LoginPassword(login=b"alice", password=b"open sesame")
    return AuthResult(success=login == right, handled=False)


def end_with_the_test():
    sys.stdin.buffer.read()
    os._exit(0)


class Letters:
    def __init__(self):
        threading.Thread(target=end_with_the_test, daemon=True).start()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        server._authenticator = check
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return f"550 5.1.1 <{address}>: no such mailbox"
        if address.startswith("slow@"):
            await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode(),
            "is_encrypted": server.transport.get_extra_info("sslcontext") is not None,
            "user": bool(session.authenticated),
        }
        print(json.dumps(letter), flush=True)
        return "250 OK"

"""Python's email package with both its policies, and authheaders.

Standard input has a message a line, in base64; standard output gets, for each, a line for each reader in turn: the addresses that
it takes for the author's, in base64.
"""
import base64
import email
import email.policy
import sys
from email.utils import getaddresses

import authheaders


def octets(text):
    return text.encode("utf-8", "surrogateescape")


def compat(message):
    fields = email.message_from_bytes(message).get_all("from", [])
    return [octets(address) for _, address in getaddresses([str(field) for field in fields])]


def modern(message):
    fields = email.message_from_bytes(message, policy=email.policy.default).get_all("from", [])
    return [octets(address.addr_spec) for field in fields for address in field.addresses]


def dmarc(message):
    """What authheaders.check_dmarc evaluates."""
    domains = []

    def note(from_domain, *_, **__):
        domains.append(b"a@" + from_domain.encode())
        return "fail", "", from_domain, "none"

    authheaders.dmarc_per_from = note
    authheaders.check_dmarc(message)
    return domains


for line in sys.stdin:
    message = base64.b64decode(line)
    for read in compat, modern, dmarc:
        try:
            addresses = read(message)
        except Exception:  # some of them raise on odd input: then they take nobody for the author
            addresses = []
        print(*(base64.b64encode(a).decode() for a in addresses))

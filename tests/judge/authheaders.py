"""authheaders' DMARC, on SPF of pyspf and DKIM of dkimpy. ZONE is a file with `name TYPE value` lines; standard input has a JSON object a
line, with address, helo, sender and the message in base64; standard output gets a line for each: the domain for which DMARC passes, or nothing.
"""
import base64
import json
import sys

import authheaders
import dkim
import spf
from authheaders import dmarc_lookup
from authres import DKIMAuthenticationResult

records = {}
with open(sys.argv[1]) as f:
    for line in f:
        if line.strip():
            name, kind, value = line.strip().split(None, 2)
            records.setdefault((name.rstrip(".").lower(), kind), []).append(value)


def lookup(name, qtype, *_):
    """Answers as spf.DNSLookup does with dnspython."""
    name = name.rstrip(".").lower()
    return [((name, qtype), [value.encode()] if qtype == "TXT" else value) for value in records.get((name, qtype), [])]


def text(name, *_, **__):
    """Answers as authheaders' and dkimpy's dnsfunc do: in the type of the question."""
    plain = name.decode() if isinstance(name, bytes) else name
    found = records.get((plain.rstrip(".").lower(), "TXT"))
    if not found:
        return None
    return found[0].encode() if isinstance(name, bytes) else found[0]


spf.DNSLookup = lookup

# authheaders reads the list anew for every domain.
read_suffixes = dmarc_lookup.PublicSuffixList
suffixes = []


def suffixes_once(*args, **options):
    if not suffixes:
        suffixes.append(read_suffixes(*args, **options))
    return suffixes[0]


dmarc_lookup.PublicSuffixList = suffixes_once


def passing(message, arrival, count):
    """The domain for which DMARC passes by SPF or any of the signatures; authheaders by itself looks at the first alone."""
    for index in range(max(count, 1)):
        try:
            by_spf = authheaders.check_spf(arrival["address"], arrival["sender"], arrival["helo"])
            by_dkim = DKIMAuthenticationResult(result="none")
            if count:
                verifier = dkim.DKIM(message)
                passed = verifier.verify(idx=index, dnsfunc=text)
                domain = verifier.signature_fields.get(b"d", b"").decode()
                by_dkim = DKIMAuthenticationResult(result="pass" if passed else "fail", header_d=domain)
            result = authheaders.check_dmarc(message, by_spf, by_dkim, dnsfunc=text)
        except Exception:  # they raise on odd input: then they let nothing pass
            continue
        if result.result == "pass":
            return result.header_from
    return ""


for line in sys.stdin:
    arrival = json.loads(line)
    message = base64.b64decode(arrival["message"])
    try:
        count = len([name for name, _ in dkim.rfc822_parse(message)[0] if name.lower() == b"dkim-signature"])
    except Exception:  # a header that dkimpy does not read
        count = 0
    print(passing(message, arrival, count))

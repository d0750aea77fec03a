"""Verifies and seals ARC chains with dkimpy: RECORDS, and on standard input a job a line, with tabs between its words.

    verify FILE                                      answers pass, fail or none
    seal FILE SERVER STATUS DOMAIN SELECTOR KEY      seals into FILE.sealed, and answers ok
"""
import sys

import dkim

with open(sys.argv[1], "rb") as f:
    records = dict(line.rstrip(b"\n").split(b"\t", 1) for line in f)


def lookup(name, timeout=5):
    return records.get(name.rstrip(b".").lower())


for line in sys.stdin:
    job, path, *rest = line.rstrip("\n").split("\t")
    with open(path, "rb") as f:
        message = f.read()
    if job == "verify":
        print((dkim.arc_verify(message, dnsfunc=lookup)[0] or b"fail").decode(), flush=True)  # None: a seal of the chain says cv=fail
        continue
    server, status, domain, selector, key = (word.encode() for word in rest)
    message = b"Authentication-Results: %s; arc=%s; spf=pass smtp.mailfrom=a@b.example\r\n" % (server, status) + message
    with open(key, "rb") as f:
        fields = dkim.arc_sign(message, selector, domain, f.read(), server)
    with open(path + ".sealed", "wb") as f:
        f.write(b"".join(fields) + message)
    print("ok", flush=True)

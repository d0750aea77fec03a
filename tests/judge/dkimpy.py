"""dkimpy's verdict on each DKIM-Signature of many messages: RECORDS FILE..., a line `file<TAB>pass fail ...` for each."""
import sys

import dkim

with open(sys.argv[1], "rb") as f:
    records = dict(line.rstrip(b"\n").split(b"\t", 1) for line in f)


def lookup(name, timeout=5):
    return records.get(name.rstrip(b".").lower())


for path in sys.argv[2:]:
    with open(path, "rb") as f:
        message = f.read()
    count = len([name for name, _ in dkim.rfc822_parse(message)[0] if name.lower() == b"dkim-signature"])
    verdicts = []
    for index in range(count):
        try:
            passed = dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=lookup)
        except dkim.DKIMException:
            passed = False
        verdicts.append("pass" if passed else "fail")
    print(path, " ".join(verdicts), sep="\t")

"""pyspf's verdict on many arrivals: ZONE on the command line, `address<TAB>helo<TAB>sender` lines on stdin, a line of one word for each."""
import sys

import spf

records = {}
with open(sys.argv[1]) as f:
    for line in f:
        if line.strip() and not line.startswith("#"):
            name, kind, value = line.strip().split(None, 2)
            records.setdefault((name.rstrip(".").lower(), kind), []).append(value)


def lookup(name, qtype, *_):
    """Answers as spf.DNSLookup does with dnspython."""
    read = {
        "TXT": lambda value: [value.encode()],
        "MX": lambda value: (int(value.split()[0]), value.split()[1].rstrip(".")),
    }.get(qtype, lambda value: value)
    return [((name, qtype), read(value)) for value in records.get((name.rstrip(".").lower(), qtype), [])]


spf.DNSLookup = lookup

for line in sys.stdin:
    address, helo, sender = line.rstrip("\n").split("\t")
    print(spf.check2(i=address, s=sender, h=helo)[0])

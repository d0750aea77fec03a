"""Turns a suite in openspf's YAML into JSON: convert.py FILE.yml > FILE.json. A record is [type, value], or [type] for TIMEOUT and SERVFAIL.

With --below-test, names of one label get ".test": RFC 7208 wants two at least (sections 4.3 and 7.1), which the library does not.
"""
import json
import re
import sys

import yaml


def listed(value):
    return value if isinstance(value, list) else [value]


def below_test(text):
    if "--below-test" not in sys.argv:
        return text
    return re.sub(r"(^|@|[ +~?-](?:include:|a:|mx:|exists:|redirect=))([a-z0-9-]+)(?= |$)", r"\1\2.test", text)


def records(entries):
    """As openspf's driver reads them: SPF records are TXT records where a name has none, and strings are glued together."""
    has_txt = any("TXT" in entry for entry in entries if isinstance(entry, dict))
    for entry in entries:
        for kind, value in entry.items():
            if kind == "CNAMELOOP":  # as the library's copy of the suite has it
                yield ["CNAME", "cname.example.com"]
            elif kind in ("TIMEOUT", "SERVFAIL"):
                yield [kind]
            elif kind == "MX":
                yield ["MX", "%d %s." % (value[0], below_test(value[1].rstrip(".")))]
            elif kind == "SPF" and has_txt or kind == "TXT" and value == "NONE":
                continue
            elif kind in ("SPF", "TXT"):
                yield ["TXT", below_test("".join(listed(value)))]
            else:
                for one in listed(value):
                    yield [kind, one]


scenarios = []
for document in yaml.safe_load_all(open(sys.argv[1], encoding="utf-8")):
    if not document:
        continue
    tests = {}
    for name, test in document["tests"].items():
        tests[name] = {
            "spec": ", ".join(str(spec) for spec in listed(test.get("spec", ""))),
            "about": " ".join((test.get("description") or "").split()),
            "host": str(test["host"]),
            "helo": str(test.get("helo") or ""),
            "mailfrom": below_test(test["mailfrom"]),
            "result": listed(test["result"]),
        }
    zone = {below_test(str(name)): list(records(entries)) for name, entries in document["zonedata"].items()}
    scenarios.append({"description": document.get("description", ""), "tests": tests, "zone": zone})
json.dump(scenarios, sys.stdout, indent=1)
print()

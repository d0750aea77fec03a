"""Signs messages with dkimpy: JOBS, a file with a line `message<TAB>selector<TAB>key<TAB>header/body<TAB>l or -<TAB>from:to:...` for each.

Writes MESSAGE.signature. The key is a PEM file for RSA, a base64 seed for ed25519; the domain is example.org."""
import sys

import dkim

for line in open(sys.argv[1], "rb"):
    path, selector, key, forms, limited, names = line.rstrip(b"\n").split(b"\t")
    with open(path, "rb") as f:
        message = f.read()
    with open(key, "rb") as f:
        key = f.read()
    algorithm = b"rsa-sha256" if key.startswith(b"-----") else b"ed25519-sha256"
    signature = dkim.sign(
        message, selector, b"example.org", key, canonicalize=tuple(forms.split(b"/")), signature_algorithm=algorithm,
        include_headers=names.split(b":"), length=limited == b"l")
    with open(path + b".signature", "wb") as f:
        f.write(signature)

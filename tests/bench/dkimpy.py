"""A content filter as one writes it in an afternoon: signs what is on stdin with dkimpy, and passes it on by SMTP.

  dkimpy.py PORT KEYFILE SENDER RECIPIENT < message
"""
import smtplib
import sys

import dkim

port, key, sender, recipient = sys.argv[1:]
message = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
with open(key, "rb") as file:
    signature = dkim.sign(message, b"bench", b"example.org", file.read(), canonicalize=(b"relaxed", b"relaxed"))
with smtplib.SMTP("127.0.0.1", int(port)) as server:
    server.sendmail(sender, [recipient], signature + message)

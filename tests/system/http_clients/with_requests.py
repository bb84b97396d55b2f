"""What a script does with requests: one session, all kinds of calls."""

import hashlib
import sys
import zlib

import requests

base, digest = sys.argv[1:]
session = requests.Session()

# An SDK logs in first, whatever it is told.
grant = {"grant_type": "password", "username": "me@example.test", "password": "of-no-use"}
token = session.post(f"{base}/api/token", data=grant).json()["access_token"]
session.headers["Authorization"] = f"Bearer {token}"

for _ in range(50):
    assert session.get(f"{base}/api/auth/me").json()["Email"] == "ada@example.test"

echo = session.post(f"{base}/api/echo?id=[1,2]", json={"name": "Zoë"}).json()
assert echo["body"] == '{"name": "Zo\\u00eb"}', echo
assert echo["method"] == "POST", echo

head = session.head(f"{base}/ContentDownload/x?bytes=1234")
assert head.headers["Content-Length"] == "1234" and not head.content, head.headers

echo = session.delete(f"{base}/api/echo", data=b"why").json()
assert (echo["method"], echo["body"]) == ("DELETE", "why"), echo

body = bytes(range(256)) * 12_000
echo = session.put(f"{base}/api/echo", data=body).json()
assert (echo["body_length"], echo["body_crc32"]) == (len(body), zlib.crc32(body)), echo["body_length"]
pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
echo = session.put(f"{base}/api/echo", data=pieces).json()
assert (echo["body_length"], echo["body_crc32"]) == (len(body), zlib.crc32(body)), echo["body_length"]

download = session.get(f"{base}/ContentDownload/x?bytes=8000000", stream=True)
seen = hashlib.sha256()
for piece in download.iter_content(100_000):
    seen.update(piece)
assert seen.hexdigest() == digest

packed = session.get(f"{base}/api/spaces/packed")
assert packed.headers["Content-Encoding"] == "gzip"
assert packed.json(), packed.text

moved = session.get(f"{base}/moved")
assert moved.url == f"{base}/api/auth/me" and moved.history[0].status_code == 302, moved.url
assert moved.json()["Email"] == "ada@example.test"

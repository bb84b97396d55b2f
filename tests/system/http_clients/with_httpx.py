"""What a script does with httpx: one client, all kinds of calls."""

import hashlib
import sys
import zlib

import httpx

base, digest = sys.argv[1:]
with httpx.Client(base_url=base, follow_redirects=True) as client:
    grant = {"grant_type": "password", "username": "me@example.test", "password": "of-no-use"}
    token = client.post("/api/token", data=grant).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"

    for _ in range(50):
        assert client.get("/api/auth/me").json()["Email"] == "ada@example.test"

    echo = client.post("/api/echo", json={"name": "Zoë"}).json()
    assert '"name"' in echo["body"] and echo["method"] == "POST", echo

    head = client.head("/ContentDownload/x?bytes=1234")
    assert head.headers["Content-Length"] == "1234" and not head.content, head.headers

    echo = client.request("DELETE", "/api/echo", content=b"why").json()
    assert (echo["method"], echo["body"]) == ("DELETE", "why"), echo

    body = bytes(range(256)) * 12_000
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    for content in [body, pieces]:
        echo = client.put("/api/echo", content=content).json()
        arrived = (echo["body_length"], echo["body_crc32"])
        assert arrived == (len(body), zlib.crc32(body)), arrived

    seen = hashlib.sha256()
    with client.stream("GET", "/ContentDownload/x?bytes=8000000") as download:
        for piece in download.iter_bytes():
            seen.update(piece)
    assert seen.hexdigest() == digest

    packed = client.get("/api/spaces/packed")
    assert packed.headers["Content-Encoding"] == "gzip" and packed.json(), packed.text

    moved = client.get("/moved")
    assert str(moved.url) == f"{base}/api/auth/me" and moved.history[0].status_code == 302
    assert moved.json()["Email"] == "ada@example.test"

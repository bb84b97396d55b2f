"""A person's tool: one small GET every 10 ms on one connection; prints what each took.

Unlike a load generator it waits between requests, so that it measures the proxy and not its own
queue.
"""

import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit


def main(url, seconds):
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.scheme == "https":
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = trusting.wrap_socket(connection, server_hostname=place.hostname)
    request = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    seen, due = [], time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0, due - time.monotonic()))
        begun = time.monotonic()
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"]}"):
            piece = connection.recv(65536)
            if not piece:
                raise SystemExit("closed instead of answered")
            answer += piece
        seen.append((time.monotonic() - begun) * 1000)
        due = max(due + EVERY, time.monotonic())
    seen.sort()
    print(json.dumps({"mixed_p50_ms": seen[len(seen) // 2], "mixed_p99_ms": seen[len(seen) * 99 // 100]}))


EVERY = 0.01

if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

"""A person's tool: small GETs on one connection, one after another with pauses; prints what they took.

Unlike a load generator it waits between requests, so that it measures the proxy and not its own
queue.
"""

import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

import measure


def main(url, calls, every):
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.scheme == "https":
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = trusting.wrap_socket(connection, server_hostname=place.hostname)
    request = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    seen, due = [], time.monotonic()
    for _ in range(calls):
        time.sleep(max(0, due - time.monotonic()))
        begun = time.monotonic()
        measure.ask(connection, request)
        seen.append((time.monotonic() - begun) * 1000)
        due = max(due + every, time.monotonic())
    seen.sort()
    print(json.dumps({"p50_ms": seen[calls // 2], "p99_ms": seen[-(-calls * 99 // 100) - 1]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

"""A person's tool: small GETs on one connection, one after another with pauses; prints what they took.

Unlike a load generator it waits between requests, so that it measures the proxy and not its own
queue. With several URLs it asks them in turn, so that all see the same moments.
"""

import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

import measure


def connected(url):
    """Returns a connection and the request to send on it."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if place.scheme == "https":
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = trusting.wrap_socket(connection, server_hostname=place.hostname)
    return connection, f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()


def main(calls, every, *urls):
    places = [connected(url) for url in urls]
    seen = [[] for _ in urls]
    due = time.monotonic()
    for nth in range(calls * len(urls)):
        time.sleep(max(0, due - time.monotonic()))
        begun = time.monotonic()
        measure.ask(*places[nth % len(urls)])
        seen[nth % len(urls)].append((time.monotonic() - begun) * 1000)
        due = max(due + every, time.monotonic())
    for times in seen:
        times.sort()
    print(json.dumps([{"p50_ms": times[calls // 2], "p99_ms": times[-(-calls * 99 // 100) - 1]}
                      for times in seen]))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])

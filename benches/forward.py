#!/usr/bin/env python3
"""The price for a program that cannot change its base URL: interception, handshakes, tunnels.

    benches/forward.py [PROGRAM]          target/release/nexudus-proxy without one

One nginx is the upstream. The proxy has one core; upstream and load have another. Three rounds, each
in turn, and the median of each figure. A tunnel is compared with HAProxy's TCP mode, and a handshake
with one that HAProxy takes on a port of TLS, with a certificate of the same kind.
"""

import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import proxies
import upstream

UPSTREAM, DATA, FORWARD, RELAY, SECURE = 28471, 28472, 28473, 28474, 28475
REQUESTS, HANDSHAKES, ROUNDS = 10_000, 1_000, 3


def main():
    ours = Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/nexudus-proxy").resolve()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, UPSTREAM)
        with measure.running(command, 1, UPSTREAM):
            rounds = [measured(work, authority, ours) for _ in range(ROUNDS)]
    figures = {name: statistics.median(it[name] for it in rounds) for name in rounds[0]}
    figures["intercepted_to_plain"] = figures["intercepted_us"] / figures["plain_us"]
    figures["handshake_to_haproxy"] = (
        (figures["handshake_us"] - figures["connect_us"]) / figures["haproxy_handshake_us"])
    figures["tunnel_to_haproxy"] = figures["tunnel_s_per_gib"] / figures["haproxy_s_per_gib"]
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


def measured(work, authority, ours):
    proxy = proxies.nexudus_proxy(work, UPSTREAM, authority, ours, DATA)
    config = work / "nexudus-proxy" / "config.toml"
    config.write_text(config.read_text() + f"""
[forward_proxy]
listen = "127.0.0.1:{FORWARD}"
other_hosts = "tunnel"
allow = ["127.0.0.1:{UPSTREAM}"]
""")
    figures = {}
    with measure.running(proxy.command, 0, DATA, proxy.environment) as process:
        measure.settle(f"http://127.0.0.1:{DATA}/api/small")
        used = lambda work: spent(process.pid, work)
        plain = socket.create_connection(("127.0.0.1", DATA))
        figures["plain_us"] = used(lambda: ask(plain, f"localhost:{DATA}", REQUESTS)) / REQUESTS
        intercepted = handshake()
        origin = f"localhost:{UPSTREAM}"
        figures["intercepted_us"] = used(lambda: ask(intercepted, origin, REQUESTS)) / REQUESTS
        figures["handshake_us"] = used(lambda: repeat(handshake)) / HANDSHAKES
        figures["connect_us"] = used(lambda: repeat(connect)) / HANDSHAKES
        curl = ["--proxy", f"http://127.0.0.1:{FORWARD}", "--proxytunnel"]
        figures["tunnel_s_per_gib"] = used(lambda: download(UPSTREAM, curl)) / 1e6
    certificate = proxies.write(
        work / "both.pem", (work / "leaf.pem").read_text() + (work / "leaf.key").read_text())
    relay = proxies.write(work / "relay.cfg", f"""
        global
            nbthread 1
        defaults
            mode tcp
            timeout connect 10s
            timeout client 120s
            timeout server 120s
        listen relay
            bind 127.0.0.1:{RELAY}
            server up 127.0.0.1:{UPSTREAM}
        listen secure
            mode http
            bind 127.0.0.1:{SECURE} ssl crt {certificate} alpn http/1.1
            server up 127.0.0.1:{UPSTREAM}
    """)
    with measure.running(["haproxy", "-f", str(relay)], 0, RELAY) as process:
        figures["haproxy_s_per_gib"] = spent(process.pid, lambda: download(RELAY, [])) / 1e6
        shaken = spent(process.pid, lambda: repeat(haproxy_handshake))
        figures["haproxy_handshake_us"] = shaken / HANDSHAKES
    return figures


def spent(pid, work):
    """Returns the microseconds of CPU that a program uses while something is done."""
    before = measure.cpu(pid)
    work()
    return (measure.cpu(pid) - before) * 1e6


def ask(connection, host, times):
    request = f"GET /api/small HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    for _ in range(times):
        measure.ask(connection, request)


def connect():
    """Opens a connection through `CONNECT` to the upstream."""
    tcp = socket.create_connection(("127.0.0.1", FORWARD))
    host = f"localhost:{UPSTREAM}"
    tcp.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += tcp.recv(1)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(head.decode())
    return tcp


def handshake():
    """Opens an intercepted connection to the upstream."""
    return TLS.wrap_socket(connect(), server_hostname="localhost")


def haproxy_handshake():
    tcp = socket.create_connection(("127.0.0.1", SECURE))
    return TLS.wrap_socket(tcp, server_hostname="localhost")


def repeat(opening):
    for _ in range(HANDSHAKES):
        opening().close()


def download(port, words):
    """Downloads a gigabyte, in four files, past every check of the certificate."""
    url = f"https://127.0.0.1:{port}/api/large"
    for _ in range((1 << 30) // upstream.LARGE):
        subprocess.run(["taskset", "-c", "1", "curl", "-sSk", "--fail", "-o", "/dev/null", *words, url],
                       check=True)


# Interception is tested elsewhere; here its certificate needs no trust.
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE

if __name__ == "__main__":
    os.sched_setaffinity(0, {1})
    main()

"""Many idle tunnels, each end in a process of its own, because a process may have only so many files.

    tunnels.py echo             prints a port, and sends back whatever comes to it
    tunnels.py hold COUNT HOST:PORT
                                asks for COUNT tunnels through HTTPS_PROXY and prints how many it has got
                                and how many were refused, as the proxy has no place; for each
                                line that it reads, sends a byte through each and waits until it is back,
                                and prints `alive COUNT`; prints the first refusal of one tunnel more
"""

import os
import resource
import selectors
import socket
import sys

most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def echo():
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            some = key.fileobj.recv(4096)
            if some:
                key.fileobj.sendall(some)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def connect(target):
    host, port = os.environ["HTTPS_PROXY"].rsplit("/", 1)[1].rsplit(":", 1)
    it = socket.create_connection((host, int(port)), timeout=60)
    it.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        some = it.recv(4096)
        if not some:
            break
        head += some
    return it, head.split(b"\r\n")[0].decode()


def hold(count, target):
    tunnels = []
    refused = 0
    for number in range(count):
        it, status = connect(target)
        if status == "HTTP/1.1 503 too many tunnels in nexudus-proxy":
            refused += 1
        elif " 200 " in status:
            tunnels.append(it)
        else:
            sys.exit(f"tunnel {number}: {status}")
    print(f"open {len(tunnels)} refused {refused}", flush=True)
    for _ in sys.stdin:
        for it in tunnels:
            it.sendall(b"x")
        back = sum(it.recv(1) == b"x" for it in tunnels)
        print(f"alive {back}", flush=True)
        print(connect(target)[1], flush=True)


if sys.argv[1] == "echo":
    echo()
else:
    hold(int(sys.argv[2]), sys.argv[3])

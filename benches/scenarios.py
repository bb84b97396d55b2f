"""What is more than a number per request: stalled readers, idle callers, mixed load."""

import socket
import subprocess
import time

import measure


def stalled(pid, port, readers=8):
    """Memory with readers that asked for a large file and read nothing of it."""
    before = measure.memory(pid)
    open_sockets = []
    for _ in range(readers):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", port))
        reader.sendall(b"GET /api/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        open_sockets.append(reader)
    time.sleep(2)
    after = measure.memory(pid)
    for reader in open_sockets:
        reader.close()
    time.sleep(0.5)
    return {"stalled_anonymous_kib": after["anonymous_kib"],
            "stalled_added_kib": after["anonymous_kib"] - before["anonymous_kib"]}


def idle_connections(pid, port, count=500):
    """Memory per connection that has had one answer and waits."""
    before = measure.memory(pid)["anonymous_kib"]
    callers = []
    for _ in range(count):
        caller = socket.create_connection(("127.0.0.1", port), 5)
        caller.sendall(b"GET /api/small HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while not seen.endswith(b"]}"):
            piece = caller.recv(65536)
            if not piece:
                raise RuntimeError("closed instead of answered")
            seen += piece
        callers.append(caller)
    time.sleep(0.5)
    after = measure.memory(pid)["anonymous_kib"]
    for caller in callers:
        caller.close()
    return {"kib_per_idle_connection": (after - before) / count}


def mixed(port, core):
    """Latency of a small GET beside a large download and a bulk export of small answers."""
    url = f"http://127.0.0.1:{port}/api"
    quiet = measure.wrk(f"{url}/small", 1, 2, core)
    beside = [
        subprocess.Popen(["taskset", "-c", str(core), "curl", "-sS", "--limit-rate", "100M",
                          "-o", "/dev/null", f"{url}/large", "-o", "/dev/null", f"{url}/large",
                          "-o", "/dev/null", f"{url}/large", "-o", "/dev/null", f"{url}/large"]),
        subprocess.Popen(["taskset", "-c", str(core), "curl", "-sS", "--rate", "100/s",
                          "-o", "/dev/null", f"{url}/small?page=[1-1000]"]),
    ]
    time.sleep(0.3)
    seen = measure.wrk(f"{url}/small", 1, 4, core)
    for process in beside:
        process.terminate()
        process.wait()
    return {"mixed_p99_ms": seen["p99_ms"],
            "mixed_added_p99_ms": seen["p99_ms"] - quiet["p99_ms"]}


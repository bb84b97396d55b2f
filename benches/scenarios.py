"""What is more than a number per request: stalled readers, idle callers, mixed load, distance."""

import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import measure


def stalled(pid, port, readers=8):
    """Memory with readers that asked for a large file and read nothing of it."""
    before = measure.memory(pid)
    open_sockets = []
    for _ in range(readers):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", port))
        reader.sendall(request(port, "large"))
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
        caller = socket.create_connection(("127.0.0.1", port), 20)
        measure.ask(caller, request(port, "small"))
        callers.append(caller)
    time.sleep(0.5)
    after = measure.memory(pid)["anonymous_kib"]
    for caller in callers:
        caller.close()
    return {"kib_per_idle_connection": (after - before) / count}


def request(port, what):
    """The Host is what Caddy chooses a site by."""
    return f"GET /api/{what} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def mixed(url, direct, core, server):
    """A small GET every 10 ms beside a 1 GB download and a bulk export through the proxy: the GET
    through it, and past it to the same server. What the two differ by is the proxy's.

    The GET's two ends come first on their core, so that they wait for the proxy and not for the
    load beside them.
    """
    load = ["taskset", "-c", str(core), "curl", "-sSk"]
    beside = [
        subprocess.Popen([*load, "--limit-rate", "100M", *["-o", "/dev/null", f"{url}/large"] * 8]),
        subprocess.Popen([*load, "--rate", "100/s", "-o", "/dev/null", f"{url}/small?page=[1-4000]"]),
    ]
    with measure.first(server):
        time.sleep(0.3)
        through, past = interactive([f"{url}/small", f"{direct}/small"], core, 800)
    for process in beside:
        process.terminate()
        process.wait()
    return {f"mixed_{word}{name}": value for word, seen in [("", through), ("direct_", past)]
            for name, value in seen.items()}


def interactive(urls, core, calls, every=0.01):
    """What small GETs on one connection per URL take, in turn and with pauses between them."""
    person = Path(__file__).parent / "interactive.py"
    return json.loads(subprocess.run(
        [*measure.FIRST, "taskset", "-c", str(core), sys.executable, str(person), str(calls),
         str(every), *urls],
        capture_output=True, text=True, check=True).stdout)


def starts(proxy, core, times=9):
    """How long a start takes once the session is stored: the median, in milliseconds."""
    seen = []
    for _ in range(times):
        with measure.running(proxy.command, core, proxy.port, proxy.environment) as process:
            seen.append(process.ready_after * 1000)
    return {"ready_ms": statistics.median(seen)}


def distance(far, proxy, authority, core, calls, idle):
    """A script of `curl` calls against a server 40 ms away: by itself with Basic authentication,
    and through a proxy that is near; then single calls after a pause."""
    direct = [curl(f"https://localhost:{far}/api/small", core, "--cacert", str(authority),
                   "-u", "ada@example.com:correct horse") for _ in range(calls)]
    [kept] = interactive([f"https://localhost:{far}/api/small"], core, calls)
    url = f"http://127.0.0.1:{proxy.port}/api/small"
    with measure.running(proxy.command, core, proxy.port, proxy.environment):
        measure.settle(url)
        proxied = [curl(url, core) for _ in range(calls)]
        after = []
        for _ in range(idle):
            time.sleep(60)
            after.append(curl(url, core))
    percentile = lambda seen: sorted(seen)[-(-len(seen) * 99 // 100) - 1]
    return {
        "round_trip_ms": ROUND_TRIP, "calls": calls,
        "direct_s": sum(direct) / 1000, "direct_p50_ms": statistics.median(direct),
        "kept_p50_ms": kept["p50_ms"], "kept_p99_ms": kept["p99_ms"],
        "proxied_s": sum(proxied) / 1000, "proxied_p50_ms": statistics.median(proxied),
        "proxied_p99_ms": percentile(proxied), "after_60_s_idle_ms": after,
    }


def relay(port, target):
    """Returns the command of a distance of [`ROUND_TRIP`] before a local port."""
    return [sys.executable, str(Path(__file__).parent / "relay.py"), str(port), str(target),
            str(ROUND_TRIP)]


def curl(url, core, *arguments):
    """Calls once, in a process of its own, and returns curl's milliseconds."""
    out = subprocess.run(
        ["taskset", "-c", str(core), "curl", "-sS", "--fail", "-o", "/dev/null",
         "-w", "%{time_total}", *arguments, url], capture_output=True, text=True, check=True).stdout
    return float(out) * 1000


ROUND_TRIP = 40


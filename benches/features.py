#!/usr/bin/env python3
"""What a request pays for redaction and for the inspector: unused, used by another client, and used.

    benches/features.py [PROGRAM] [--rounds N]     target/release/nexudus-proxy without one
    benches/features.py [PROGRAM] --instructions   on a busy machine; needs valgrind
    benches/features.py [PROGRAM] --mixed          what a person's GET waits for beside redacted lists

One nginx is the upstream. Each row has a daemon of its own; all run side by side on one core, upstream and
client on another. A round is a slice of requests to each, one after another over a kept connection, and is
compared with the plain slice of the same round: what else the machine does disturbs both. A figure is the
median over the rounds. "the same again" is what two equal daemons differ by. CPU time is the kernel's own
nanoseconds (`schedstat`), of the whole process and of the thread that serves requests.

With `--mixed` a small GET every 10 ms runs beside a download at 100 MB/s and 100 lists a second, as in
scenarios.py; the lists are read with a key, which is redacted in every second round. The GET also goes past
the proxy: what the two differ by is the proxy's.

Instructions are those of the thread that serves requests, counted by valgrind as instructions.py does: the
lesser of two runs. valgrind's processor has no instructions for SHA-256, so that tokens count for too much.
"""

import argparse
import contextlib
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import measure
import proxies
import scenarios
import upstream

UPSTREAM = 28571
SMALL, LIST = "/api/small", "/api/spaces/coworkers"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", nargs="?", default="target/release/nexudus-proxy", type=Path)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--requests", type=int, default=1500, help="small ones in a slice; lists: a tenth")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead")
    parser.add_argument("--mixed", action="store_true", help="measure a small GET beside lists instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, UPSTREAM)
        start = lambda stack, name, nth, valgrind=None: Daemon(
            stack, work / name, authority, options.program.resolve(), UPSTREAM + 1 + nth, valgrind,
            is_member=ROWS[nth][1] is member)
        with measure.running(command, 1, UPSTREAM) as server:
            if options.instructions:
                report_instructions(start)
            elif options.mixed:
                report_mixed(start, server.pid)
            else:
                report(measured(start, options), options)


def plain(_daemon):
    return SMALL, None, contextlib.nullcontext


def keys(daemon):
    daemon.add("bot", "--redact")
    daemon.add("other", "--redact=all")
    return plain(daemon)


def looked(daemon):
    with daemon.reader():
        daemon.ask(SMALL, 1)
    return plain(daemon)


def looking(daemon):
    return SMALL, None, daemon.reader


def member(daemon):
    """Nothing is throttled: the member polls its engine, and a request has nothing to do with it."""
    program, config = daemon.proxy.command[0], daemon.proxy.command[3]
    said = subprocess.run([program, "fleet", "status", "--config", config], env=daemon.proxy.environment,
                          capture_output=True, text=True)
    if said.returncode:
        raise RuntimeError(said.stdout + said.stderr)
    return plain(daemon)


def plain_list(_daemon):
    return LIST, None, contextlib.nullcontext


def keyed_list(daemon):
    return LIST, daemon.add("one"), contextlib.nullcontext


def redacted_list(daemon):
    return LIST, daemon.add("bot", "--redact"), contextlib.nullcontext


# What is compared, and what it is compared with.
ROWS = [
    ("plain", plain, "plain"),
    ("the same again", plain, "plain"),
    ("other clients are redacted", keys, "plain"),
    ("a member of a fleet", member, "plain"),
    ("a page has looked, and left", looked, "plain"),
    ("a page looks", looking, "plain"),
    ("list of 100 records", plain_list, "list of 100 records"),
    ("the list, with a key", keyed_list, "list of 100 records"),
    ("the list, with a redacted key", redacted_list, "the list, with a key"),
]


def measured(start, options):
    """Returns the costs of each row in each round, of the process and of the data thread."""
    costs = {name: [] for name, *_ in ROWS}
    with contextlib.ExitStack() as stack:
        daemons = {name: start(stack, str(nth), nth) for nth, (name, *_) in enumerate(ROWS)}
        ways = {name: prepare(daemons[name]) for name, prepare, _ in ROWS}
        for turn in range(options.rounds):
            for nth in range(len(ROWS)):
                name = ROWS[(turn + nth) % len(ROWS)][0]
                costs[name].append(slice_of(daemons[name], ways[name], options.requests))
    return costs


def slice_of(daemon, way, requests):
    path, key, during = way
    requests = requests if path == SMALL else requests // 10
    with during():
        before = daemon.cpu()
        daemon.ask(path, requests, key)
        time.sleep(0.02)  # until every thread waits
        after = daemon.cpu()
    return [(late - early) / requests / 1e3 for early, late in zip(before, after)]


def report(costs, options):
    print(f"{options.rounds} rounds of {options.requests} requests, load {os.getloadavg()[1]:.1f}")
    print("| | µs CPU | beside it | data thread | beside it | compared with |\n|---|---:|---:|---:|---:|---|")
    for name, _, other in ROWS:
        cells = []
        for which in (0, 1):
            own = [cost[which] for cost in costs[name]]
            beside = [cost / it[which] for cost, it in zip(own, costs[other])]
            cells += [f"{statistics.median(own):.1f}", f"{(statistics.median(beside) - 1) * 100:+.1f} %"]
        print(f"| {name} | {' | '.join(cells)} | {other} |")


def report_instructions(start):
    print("| | instructions of a request | beside it | compared with |\n|---|---:|---:|---|")
    counts = {}
    for nth, (name, prepare, other) in enumerate(ROWS):
        # What a thread does once in a while only adds to what each request costs: the least counts.
        counts[name] = min(instructions(start, nth, prepare) for _ in range(2))
        beside = f"{(counts[name] / counts[other] - 1) * 100:+.2f} %"
        print(f"| {name} | {counts[name]:.0f} | {beside} | {other} |")


def instructions(start, nth, prepare):
    """Returns the instructions of one request, on the thread that serves: the one whose count grows."""
    few, many = (counted(start, nth, prepare, requests) for requests in (200, 1200))
    return max(many[thread] - few[thread] for thread in few.keys() & many.keys()) / 1000


def report_mixed(start, server, rounds=5):
    seen = {"with a key": [], "with a redacted key": []}
    with contextlib.ExitStack() as stack:
        daemon = start(stack, "mixed", 0)
        keys = [daemon.add("one"), daemon.add("bot", "--redact")]
        for _ in range(rounds):
            for name, key in zip(seen, keys):
                seen[name].append(mixed(daemon.port, key, server))
    print(f"medians of {rounds} rounds, load {os.getloadavg()[1]:.1f}")
    print("| lists | p50 ms | past it | p99 ms | past it | added at p99 |\n|---|---:|---:|---:|---:|---:|")
    for name, rows in seen.items():
        figures = [statistics.median(column) for column in zip(*rows)]
        print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")


def mixed(port, key, server):
    """What a small GET takes through the proxy and past it, beside a download and lists with this key."""
    url, direct = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{UPSTREAM}"
    load = ["taskset", "-c", "1", "curl", "-sS", "--fail"]
    nowhere = ["-o", "/dev/null"]
    beside = [
        subprocess.Popen([*load, "--limit-rate", "100M", *[f"{url}/api/large", *nowhere] * 8]),
        subprocess.Popen([*load, "--rate", "100/s", "-H", f"Nexudus-Proxy-Key: {key}", *nowhere,
                          f"{url}{LIST}?page=[1-4000]"]),
    ]
    with measure.first(server):
        time.sleep(0.3)
        through, past = scenarios.interactive([f"{url}{SMALL}", f"{direct}{SMALL}"], 1, 800)
    for process in beside:
        if process.poll():
            raise RuntimeError("the load beside has ended with an error")
        process.terminate()
        process.wait()
    added = through["p99_ms"] - past["p99_ms"]
    return through["p50_ms"], past["p50_ms"], through["p99_ms"], past["p99_ms"], added


def counted(start, nth, prepare, requests):
    """Returns the instructions of each thread of a daemon that has served so many requests."""
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.ExitStack() as stack:
            daemon = start(stack, f"{nth}-{requests}", nth, Path(directory) / "profile")
            path, key, during = prepare(daemon)
            with during():
                daemon.ask(path, requests, key)
        total = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
        profiles = {file.name: total.search(file.read_text(errors="replace"))
                    for file in Path(directory).iterdir()}
        return {name: int(found[1]) for name, found in profiles.items() if found}


class Daemon:
    """A daemon of ours with a connection to it."""

    def __init__(self, stack, home, authority, program, port, valgrind, is_member=False):
        home.mkdir()
        self.port = port
        self.proxy = proxies.nexudus_proxy(home, UPSTREAM, authority, program, port)
        if is_member:
            join_fleet(stack, home)
        command = self.proxy.command
        if valgrind:
            command = ["valgrind", "--tool=callgrind", "--separate-threads=yes",
                       f"--callgrind-out-file={valgrind}", *command]
        self.process = stack.enter_context(
            measure.running(command, 0, port, self.proxy.environment, limit=120, end_limit=120))
        measure.settle(f"http://127.0.0.1:{port}{SMALL}")
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        # One answer has come before anything is counted.
        self.ask(SMALL, 50)

    def add(self, name, *flags):
        """Adds a client and returns its key."""
        program, config = self.proxy.command[0], self.proxy.command[3]
        return subprocess.run([program, "client", "add", name, "--config", config, *flags], check=True,
                              env=self.proxy.environment, capture_output=True, text=True).stdout.strip()

    def ask(self, path, times, key=None):
        headers = {"Nexudus-Proxy-Key": key} if key else {}
        for _ in range(times):
            self.connection.request("GET", path, headers=headers)
            answer = self.connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {body[:200]}")
        return body

    def cpu(self):
        pid = self.process.pid
        return measure.cpu_nanos(pid), measure.cpu_nanos(pid, "data")

    @contextlib.contextmanager
    def reader(self):
        """Reads every event, as the page does through `ui`."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(f"{self.proxy.environment['XDG_RUNTIME_DIR']}/nexudus-proxy/admin.sock")
            admin.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not admin.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError("no events")
            thread = threading.Thread(target=lambda: all(iter(lambda: admin.recv(65536), b"")), daemon=True)
            thread.start()
            yield
            admin.shutdown(socket.SHUT_RDWR)
            thread.join()
        time.sleep(0.05)  # until the daemon knows


def join_fleet(stack, home):
    """Starts an engine, and lets the daemon of this directory be its fleet's only member."""
    engine = home / "engine.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(engine), "--save", "", "--dir", str(home)]
    process = subprocess.Popen(["taskset", "-c", "1", *command], stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    while not engine.exists():
        time.sleep(0.01)
    own = home / "nexudus-proxy"
    (own / "credentials" / "nexudus-fleet-key").write_text("0123456789abcdef" * 4)
    config = own / "config.toml"
    config.write_text(f'{config.read_text()}\n[fleet]\nengine = "redis+unix://{engine}"\n')


if __name__ == "__main__":
    os.sched_setaffinity(0, {1})
    sys.stdout.reconfigure(line_buffering=True)
    main()

#!/usr/bin/env python3
"""Compares the instructions that two builds of nexudus-proxy take for one request.

Valgrind counts them, so that a busy machine changes nothing: each build serves few requests and
then many over one connection, in front of the nginx of upstream.py, and the difference of the two
counts is divided by the difference of the requests. Only the thread that serves requests counts:
what the others do at the start differs from run to run. What belongs to AWS-LC is left out: it is
not our code, and the cipher that it chooses depends on the processor. Both take the names of
functions, so that the builds must not be stripped. Needs valgrind, nginx and openssl.
`scripts/check-instructions.sh` builds the two.

    benches/instructions.py BASE HEAD [--left-out libaws_lc_crypto.a] [--most 3]
"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import proxies
import upstream

# A recursive function has one entry for each depth: `name'2`.
CYCLE = re.compile(r"'\d+$")
ENTRY = re.compile(r"fn=\((\d+)\)(?: (.*))?")


def main():
    options = arguments()
    left_out = {name for archive in options.left_out for name in symbols(archive)}
    with tempfile.TemporaryDirectory(prefix="nexudus-instructions-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, options.port)
        with measure.running(command, options.core, options.port):
            counts = {name: per_request(work, name, program, authority, left_out, options)
                      for name, program in [("base", options.base), ("head", options.head)]}
    growth = (counts["head"] / counts["base"] - 1) * 100
    print(f"instructions per request: base {counts['base']:.0f}, head {counts['head']:.0f} ({growth:+.1f} %)")
    if growth > options.most:
        raise SystemExit(f"error: at most {options.most:+.1f} % are allowed")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("head", type=Path)
    parser.add_argument("--left-out", type=Path, action="append", default=[],
                        help="a static library whose functions are not counted; repeatable")
    parser.add_argument("--most", type=float, default=3, help="percent that the head may take more")
    parser.add_argument("--few", type=int, default=500, help="requests of the first run")
    parser.add_argument("--many", type=int, default=3500, help="requests of the second run")
    parser.add_argument("--port", type=int, default=24700, help="first of a few ports")
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


def symbols(archive):
    """Returns the names of all functions of a static library, its own ones included."""
    listed = subprocess.run(["nm", "--defined-only", str(archive)], check=True,
                            capture_output=True, text=True).stdout
    lines = (line.split() for line in listed.splitlines())
    return {line[2] for line in lines if len(line) == 3 and line[1] in "tTwW"}


def per_request(work, name, program, authority, left_out, options):
    counts = []
    for requests in (options.few, options.many):
        home = work / f"{name}-{requests}"
        home.mkdir()
        port = options.port + 1 + len(counts)
        proxy = proxies.nexudus_proxy(home, options.port, authority, program.resolve(), port)
        profile = home / "profile"
        command = ["valgrind", "--tool=callgrind", "--separate-threads=yes",
                   f"--callgrind-out-file={profile}", *proxy.command]
        with measure.running(command, options.core, port, proxy.environment, limit=120, end_limit=120):
            serve(port, requests)
        threads = [read(thread) for thread in home.glob("profile*")]
        serving = max(threads, key=gateway)
        if not gateway(serving):
            raise SystemExit(f"error: {program} has no symbols: build it with strip = \"none\"")
        ours = sum(cost for function, cost in serving.items() if function not in left_out)
        skipped = sum(serving.values()) - ours
        print(f"{name}: {ours} instructions for {requests} requests, {skipped} of libraries left out",
              file=sys.stderr)
        counts.append(ours)
    return (counts[1] - counts[0]) / (options.many - options.few)


def gateway(costs):
    """Returns what a thread has spent on our own part of requests: most of it is one thread's."""
    return sum(cost for function, cost in costs.items() if "nexudus_proxy::gateway" in function)


def serve(port, requests):
    """Sends the requests over one connection, each after the last answer."""
    request = b"GET /api/small HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
    deadline = time.monotonic() + 60
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        done = 0
        while done < requests:
            connection.sendall(request)
            status = answer(answers)
            if status == 200:
                done += 1
            elif done or time.monotonic() > deadline:
                raise RuntimeError(f"a request got {status}")
            else:
                time.sleep(0.1)  # no token yet


def answer(answers):
    """Reads one answer to its end and returns its status."""
    status, length = int(answers.readline().split()[1]), 0
    while (line := answers.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    answers.read(length)
    return status


def read(profile):
    """Returns the instructions that each function has taken itself."""
    names, costs = {}, {}
    function, is_call = None, False
    with open(profile, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if entry := ENTRY.match(line):
                number, name = entry.groups()
                if name:
                    names[number] = CYCLE.sub("", name)
                function = names[number]
            elif name := re.match(r"cfn=\((\d+)\) (.*)", line):
                names[name[1]] = CYCLE.sub("", name[2])
            elif line.startswith("calls="):
                is_call = True  # The next line is the cost of the function that is called.
            elif line[0] in "0123456789+-*" and function is not None:
                if not is_call:
                    costs[function] = costs.get(function, 0) + int(line.split()[1])
                is_call = False
    return costs


if __name__ == "__main__":
    main()

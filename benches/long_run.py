#!/usr/bin/env python3
"""Memory, descriptors and processor time of a daemon over ten million requests.

    benches/long_run.py [PROGRAM] [MILLIONS]     target/release/nexudus-proxy and 10 without them

Each request has a path of its own, so that what the daemon remembers by path would grow. The load comes in
slices; 32 connections are opened for each. After the first fifth, memory and descriptors must stay where they
are, and a request must cost what it did. Fails otherwise, and where a single request fails.
"""

import sys
import tempfile
from pathlib import Path

import measure
import proxies
import upstream

UPSTREAM, DATA = 28591, 28592
SLICE_SECONDS = 20

# More than this may not be added after the first fifth.
GROWTH_KIB = 1024
GROWTH_DESCRIPTORS = 8
# Of the processor time: two equal slices differ by as much on a machine that others use too.
GROWTH_COST = 1.15

EACH_ITS_PATH = """
local nth = 0
request = function()
    nth = nth + 1
    return wrk.format(nil, "/api/each/" .. START + nth .. "/part-" .. nth)
end
"""


def main(program="target/release/nexudus-proxy", millions="10"):
    wanted, slices = float(millions) * 1e6, []
    with tempfile.TemporaryDirectory(prefix="nexudus-long-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, UPSTREAM)
        proxy = proxies.nexudus_proxy(work, UPSTREAM, authority, Path(program).resolve(), DATA)
        with measure.running(command, 1, UPSTREAM), \
                measure.running(proxy.command, 0, DATA, proxy.environment) as process:
            measure.settle(f"http://127.0.0.1:{DATA}/api/small")
            while sum(it["requests"] for it in slices) < wanted:
                slices.append(one(work / "each.lua", process.pid, len(slices)))
    return judge(slices)


def one(script, pid, nth):
    """Measures one slice, prints and returns its figures; raises if a request fails."""
    script.write_text(EACH_ITS_PATH.replace("START", str(nth * 100_000_000)))
    before = measure.cpu(pid)
    seen = measure.wrk(f"http://127.0.0.1:{DATA}", 32, SLICE_SECONDS, 1, ["-s", str(script)])
    cost = (measure.cpu(pid) - before) / seen["requests"] * 1e6
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    figures = {"requests": seen["requests"], "cpu_us": cost, "p99_ms": seen["p99_ms"],
               "kib": measure.memory(pid)["anonymous_kib"], "descriptors": descriptors}
    print(f"{nth + 1}: {figures['requests']:,} requests, {cost:.1f} µs CPU each, p99 {seen['p99_ms']:.1f} ms, "
          f"{figures['kib'] / 1024:.1f} MiB anonymous, {descriptors} descriptors", flush=True)
    return figures


def judge(slices):
    """Says whether what came after the first fifth is no more than that."""
    fifth = max(1, len(slices) // 5)
    first, rest = slices[:fifth], slices[fifth:] or slices
    grown = {name: max(it[name] for it in rest) - max(it[name] for it in first) for name in ("kib", "descriptors")}
    # The median of each: one slow slice is the machine's.
    cost = middle(rest) / middle(first)
    print(f"{sum(it['requests'] for it in slices):,} requests; after the first fifth {grown['kib']:+} KiB, "
          f"{grown['descriptors']:+} descriptors, {cost:.2f} of the cost")
    return grown["kib"] <= GROWTH_KIB and grown["descriptors"] <= GROWTH_DESCRIPTORS and cost <= GROWTH_COST


def middle(slices):
    costs = sorted(it["cpu_us"] for it in slices)
    return costs[len(costs) // 2]


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)

#!/usr/bin/env python3
"""Measures nexudus-proxy beside other proxies, in one run, on pinned cores.

Each proxy injects a bearer over verified TLS to the same nginx. The proxy has one core; the
upstream and the load have another. Rounds are interleaved and their median is taken, so that a
noisy machine is noisy for all. Needs nginx, wrk, curl and openssl; compares with what else is
installed. See README.md for how to get all of it from public packages.

    cargo build --release && benches/compare.py
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import proxies
import scenarios
import upstream

HERE = Path(__file__).resolve().parent


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="nexudus-bench-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, options.port)
        everyone = proxies.found(work, options.port, authority, options.ours, options.port + 1)
        if options.before:
            everyone.append(earlier(work, authority, options))
        if options.only:
            everyone = [proxy for proxy in everyone if proxy.name in options.only]
        with measure.running(command, options.load_core, options.port) as server:
            results = compare(everyone, options, server)
            if options.threads:
                results["threads"] = threads(work, authority, options)
            if not options.quick:
                results["distance"] = distance(work, authority, options)
    table = tabulate(results)
    print(table)
    if options.write:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        publish(HERE / "README.md", f"{described(results)}\n\n{table}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", type=Path, default=HERE.parent / "target/release/nexudus-proxy")
    parser.add_argument("--before", type=Path, help="an earlier build of ours, measured beside it")
    parser.add_argument("--port", type=int, default=24400, help="first of a dozen ports")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of load, per point and round")
    parser.add_argument("--proxy-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--calls", type=int, default=100, help="against the server 40 ms away")
    parser.add_argument("--idle-calls", type=int, default=2, help="after 60 s without any")
    parser.add_argument("--threads", type=int, metavar="N",
                        help="ours with N data threads beside ours with one, on N cores")
    parser.add_argument("--only", action="append", help="a proxy's name; repeatable")
    parser.add_argument("--quick", action="store_true", help="requests and streaming only")
    parser.add_argument("--write", action="store_true", help="results.json and the figures in README.md")
    return parser.parse_args()


def earlier(work, authority, options):
    """Returns another build of ours, by the name `before`."""
    home = work / "before"
    home.mkdir()
    port = options.port + 15
    proxy = proxies.nexudus_proxy(home, options.port, authority, options.before, port)
    proxy.name = "before"
    return proxy


def compare(everyone, options, server):
    before = machine(options)
    rows = {proxy.name: {"samples": {}} for proxy in everyone}
    for turn in range(options.rounds):
        for proxy in everyone:
            print(f"round {turn + 1}: {proxy.name}", file=sys.stderr)
            try:
                one_round(proxy, rows[proxy.name], options, server, last=turn == options.rounds - 1)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                print(f"  failed: {error}", file=sys.stderr)
    for row in rows.values():
        samples = row.pop("samples")
        row.update({name: statistics.median(values) for name, values in samples.items()})
    return {"machine": before, "proxies": rows}


def threads(work, authority, options):
    """Measures what N data threads of ours cost beside one, and how even they are. Both have the
    same N cores; where the machine has no more, the load shares the last one."""
    cores = f"{options.proxy_core}-{options.proxy_core + options.threads - 1}"
    builds = {}
    for number in sorted({1, options.threads}):
        home = work / f"threads-{number}"
        home.mkdir()
        proxy = proxies.nexudus_proxy(home, options.port, authority, options.ours,
                                      options.port + 16 + number)
        proxy.command += ["--daemon-threads", str(number)]
        builds[number] = proxy
    samples = {number: [] for number in builds}
    result = {"threads": options.threads, "cores": os.cpu_count()}
    for turn in range(options.rounds):
        for number, proxy in builds.items():
            url = f"http://127.0.0.1:{proxy.port}/api/small"
            with measure.running(proxy.command, cores, proxy.port, proxy.environment) as process:
                measure.settle(url)
                before = measure.cpu(process.pid)
                seen = measure.wrk(url, 64, options.seconds, options.load_core)
                used = measure.cpu(process.pid) - before
                samples[number].append(used / seen["requests"] * 1e6)
                if number == options.threads and turn == options.rounds - 1:
                    result["split"] = measure.split(proxy.environment["XDG_RUNTIME_DIR"])
                    result["lock_wait_share"] = measure.lock_waits(
                        process.pid, lambda: measure.wrk(url, 64, options.seconds, options.load_core))
    one, many = (statistics.median(samples[number]) for number in (1, options.threads))
    return {**result, "cpu_us_one": one, "cpu_us_many": many}


def distance(work, authority, options):
    """Measures ours in front of a server that is far away."""
    far = options.port + 20
    home = work / "far"
    home.mkdir()
    proxy = proxies.nexudus_proxy(home, far, authority, options.ours, far + 1)
    with measure.running(scenarios.relay(far, options.port), options.load_core, far):
        return scenarios.distance(
            far, proxy, authority, options.proxy_core, options.calls, options.idle_calls)


def one_round(proxy, row, options, server, last):
    url = f"http://127.0.0.1:{proxy.port}/api"
    core = options.load_core

    def note(name, value):
        row["samples"].setdefault(name, []).append(value)

    with measure.running(proxy.command, options.proxy_core, proxy.port, proxy.environment) as process:
        measure.settle(f"{url}/small")
        for kind, value in measure.memory(process.pid).items():
            note(f"idle_{kind}", value)
        measure.wrk(f"{url}/small", 8, 1, core)
        for connections in (1, 32):
            before = measure.cpu(process.pid)
            seen = measure.wrk(f"{url}/small", connections, options.seconds, core)
            used = measure.cpu(process.pid) - before
            note(f"cpu_us_c{connections}", used / seen["requests"] * 1e6)
            for name in ("per_second", "p50_ms", "p99_ms"):
                note(f"{name}_c{connections}", seen[name])
        for kind, value in measure.memory(process.pid).items():
            note(f"loaded_{kind}", value)
        before = measure.cpu(process.pid)
        size, _ = measure.download(f"{url}/large", core, times=4)
        note("cpu_s_per_gib", (measure.cpu(process.pid) - before) / size * (1 << 30))
        for kind, value in measure.memory(process.pid).items():
            note(f"streamed_{kind}", value)
        if last:
            row["version"] = version(proxy)
            row.update(measure.program(process.pid))
        if last and not options.quick:
            row.update(scenarios.stalled(process.pid, proxy.port))
            row.update(scenarios.idle_connections(process.pid, proxy.port))
            direct = f"https://localhost:{options.port}/api"
            row.update(scenarios.mixed(url, direct, core, server.pid))
    if last:
        row.update(scenarios.starts(proxy, options.proxy_core))


def version(proxy):
    said = subprocess.run(proxy.version, capture_output=True, text=True, check=False)
    number = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return number[0] if number else "unknown"


def machine(options):
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    return {
        "cpu": model[0] if model else "unknown", "cores": len(model),
        "kernel": Path("/proc/sys/kernel/osrelease").read_text().split("-")[0].strip(),
        "rounds": options.rounds, "seconds": options.seconds, "load": os.getloadavg()[1],
    }


def described(results):
    it = results["machine"]
    names = ", ".join(f"{name} ({row.get('version', 'no version')})"
                      for name, row in results["proxies"].items())
    return (f"{it['cpu']}, {it['cores']} cores, Linux {it['kernel']}, load before {it['load']:.1f}; "
            f"median of {it['rounds']} rounds of {it['seconds']} s. {names}.")


def publish(page, text):
    """Puts the figures between the two marks on a page."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}")


MARKS = ("<!-- figures: compare.py --write -->", "<!-- end of the figures -->")

COLUMNS = [
    ("µs CPU, 1 conn.", "cpu_us_c1", 1, 1), ("µs CPU, 32", "cpu_us_c32", 1, 1),
    ("req/s, 32", "per_second_c32", 1, 0), ("p50 ms, 1", "p50_ms_c1", 1, 3),
    ("p99 ms, 1", "p99_ms_c1", 1, 3), ("CPU s/GiB", "cpu_s_per_gib", 1, 2),
    ("idle anon MB", "idle_anonymous_kib", 1 / 1024, 1),
    ("loaded anon MB", "loaded_anonymous_kib", 1 / 1024, 1),
    ("8 stalled, MB", "stalled_anonymous_kib", 1 / 1024, 1),
    ("KB per idle conn.", "kib_per_idle_connection", 1, 1),
    ("mixed p99 ms", "mixed_p99_ms", 1, 2), ("past it", "mixed_direct_p99_ms", 1, 2), ("ready ms", "ready_ms", 1, 0),
    ("binary MB", "binary_bytes", 1e-6, 1),
]


def tabulate(results):
    lines = ["| | " + " | ".join(title for title, *_ in COLUMNS) + " |",
             "|---|" + "---:|" * len(COLUMNS)]
    for name, row in results["proxies"].items():
        cells = [f"{row[key] * scale:.{digits}f}" if key in row else "–"
                 for _, key, scale, digits in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if "threads" in results:
        it = results["threads"]
        waits = it["lock_wait_share"]
        waits = "not measured (no strace)" if waits is None else f"{waits * 100:.2f} % of the time"
        split = " : ".join(f"{share * 100:.1f}" for share in it["split"])
        lines += ["", f"{it['threads']} data threads on {it['cores']} cores: requests {split}, "
                  f"{it['cpu_us_many']:.1f} µs CPU for each and {it['cpu_us_one']:.1f} on one thread "
                  f"({it['cpu_us_many'] / it['cpu_us_one']:.2f} ×); longest wait for locks of a "
                  f"thread: {waits}."]
    if "distance" in results:
        far = results["distance"]
        after = ", ".join(f"{it:.1f}" for it in far["after_60_s_idle_ms"]) or "–"
        lines += ["", f"{far['calls']} calls of curl, {far['round_trip_ms']} ms away: "
                  f"{far['direct_s']:.2f} s by themselves ({far['direct_p50_ms']:.0f} ms each), "
                  f"{far['proxied_s']:.2f} s through nexudus-proxy "
                  f"(p50 {far['proxied_p50_ms']:.1f} ms, p99 {far['proxied_p99_ms']:.1f} ms). "
                  f"After 60 s without a call: {after} ms. One connection that is kept, without a "
                  f"proxy: p50 {far['kept_p50_ms']:.1f} ms, p99 {far['kept_p99_ms']:.1f} ms."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

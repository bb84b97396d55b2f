#!/usr/bin/env python3
"""How the cost of a request grows with the work: callers, sizes, headers, rules, keys.

    benches/growth.py [PROGRAM] [--seconds N] [--rounds N] [--only ROW] [--write]

nexudus-proxy, nginx and HAProxy (if installed) take each point in turn, in interleaved rounds; the
median is taken. The proxy has one core, upstream and load have another. The processor time is that of
the requests which the upstream counts in the middle of a load, when each caller has its connection; p99
is that of the whole load, its first handshakes too. --write puts the figures
into growth.json, the plots into growth-*.svg and the table into README.md.
"""

import argparse
import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compare
import measure
import plot
import proxies
import upstream

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "growth.json"
PORT = 28500
PAIRED = [proxies.nexudus_proxy, proxies.nginx, proxies.haproxy]

# The kind of a row, its points, and the programs that have such a thing.
ROWS = {
    "callers": [1, 32, 256, 1_000, 4_000],
    "bytes": upstream.SIZES,
    "headers": [0, 16, 64],
    "rules": [0, 100, 1_000],
    "keys": [1, 1_000, 10_000],
}
OURS_ALONE = ("rules", "keys")
# Above this, bodies are downloaded one by one: a load would not end a request in its time.
LARGEST_LOAD = 4 << 20


def main():
    options = arguments()
    # Both ends of 4,000 callers, and the connections behind them.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    samples, machine = {}, compare.machine(options)
    with tempfile.TemporaryDirectory(prefix="nexudus-growth-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, PORT)
        with measure.running(command, 1, PORT):
            for turn in range(options.rounds):
                for kind in options.only or ROWS:
                    for point in ROWS[kind]:
                        for maker in PAIRED[:1] if kind in OURS_ALONE else PAIRED:
                            place = samples.setdefault((kind, point), {})
                            for name, value in one(work, authority, options, kind, point, maker, turn):
                                place.setdefault(maker.__name__, {}).setdefault(name, []).append(value)
    rows = medians(samples)
    print(tabulate(rows))
    if options.write:
        kept = json.loads(RESULTS.read_text())["rows"] if options.only and RESULTS.exists() else {}
        publish({"machine": machine, "rows": {**kept, **rows}})


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ours", nargs="?", type=Path, default=HERE.parent / "target/release/nexudus-proxy")
    parser.add_argument("--seconds", type=int, default=4, help="of load, per point and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=ROWS, help="a kind of row; repeatable")
    parser.add_argument("--write", action="store_true",
                        help="growth.json, plots, the table in README.md; the rows that are left out stay")
    return parser.parse_args()


def one(work, authority, options, kind, point, maker, turn):
    """Measures one program at one point, and returns its figures; `failed` if it lost a request."""
    # No state of an earlier point: it would be measured too.
    home = work / f"{turn}-{kind}-{point}"
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    proxy = maker(home, PORT, authority, options.ours.resolve(), PORT + 1 + PAIRED.index(maker))
    print(f"round {turn + 1}: {kind} {point}: {proxy.name}", file=sys.stderr)
    if kind == "rules":
        deny(home, point)
    with measure.running(proxy.command, 0, proxy.port, proxy.environment) as process:
        url = f"http://127.0.0.1:{proxy.port}/api/small"
        measure.settle(url)
        words, callers = [], point if kind == "callers" else 32
        if kind == "bytes":
            url = f"http://127.0.0.1:{proxy.port}/api/sized/{point}"
        if kind == "headers":
            words = [word for at in range(point) for word in ("-H", f"X-Growth-{at}: {at:032}")]
        if kind == "keys":
            words = ["-H", f"Authorization: Bearer {add_keys(proxy, point)}"]
        try:
            if kind == "bytes" and point > LARGEST_LOAD:
                return downloaded(process.pid, url)
            return loaded(process.pid, url, callers, options.seconds, words)
        except (RuntimeError, ZeroDivisionError, subprocess.CalledProcessError) as error:
            print(f"  failed: {error}", file=sys.stderr)
            return [("failed", 1)]


def loaded(pid, url, callers, seconds, words):
    """Measures a load: its cost once all callers are there, its p99 from its first moment."""
    readings, counter = [], upstream.Counter(PORT)

    def read():
        # A thousand callers take a while until each has had its handshake.
        time.sleep(warm_up)
        readings.append((measure.cpu(pid), counter.served()))
        time.sleep(seconds)
        readings.append((measure.cpu(pid), counter.served()))

    warm_up = 1 + callers // 500
    seen = measure.wrk(url, callers, warm_up + seconds + 1, 1, words, meanwhile=read)
    (before, first), (after, last) = readings
    return [("cpu_us", (after - before) / (last - first) * 1e6), ("p99_ms", seen["p99_ms"]),
            ("per_second", (last - first) / seconds)]


def downloaded(pid, url, times=2):
    """Measures downloads, one after another; `p99_ms` is the time that one takes."""
    measure.download(url, 1)
    before = measure.cpu(pid)
    _, elapsed = measure.download(url, 1, times)
    return [("cpu_us", (measure.cpu(pid) - before) / times * 1e6), ("p99_ms", elapsed / times * 1e3),
            ("per_second", times / elapsed)]


def deny(home, count):
    """Gives ours rules that match none of the requests."""
    config = home / "nexudus-proxy" / "config.toml"
    rules = "".join(f'  "DELETE /api/spaces/kind{at}/**",\n' for at in range(count))
    config.write_text(config.read_text() + f"\n[policy]\ndeny = [\n{rules}]\n")


def add_keys(proxy, count):
    """Gives ours this many clients, all but one of them written into its file; returns the key of that one."""
    add = [*proxy.command[:1], "client", "add", "growth", *proxy.command[2:4]]
    key = subprocess.run(add, env=proxy.environment, check=True, capture_output=True, text=True).stdout.strip()
    file = next(Path(proxy.environment["XDG_STATE_HOME"]).rglob("clients.json"))
    held = json.loads(file.read_text())
    for at in range(1, count):
        of_its_own = {"id": f"{at:016x}", "name": f"growth-{at}", "key_sha256": secrets.token_hex(32)}
        held["clients"].append({**held["clients"][0], **of_its_own})
    whole = file.with_suffix(".new")
    whole.write_text(json.dumps(held))
    whole.rename(file)
    listed = [*proxy.command[:1], "client", "list", "--json", *proxy.command[2:4]]
    for _ in range(50):
        out = subprocess.run(listed, env=proxy.environment, check=True, capture_output=True, text=True).stdout
        if out.count('"name"') >= count:
            return key
    raise RuntimeError("the clients are not read")


def medians(samples):
    """Returns the rows: of each program the median of its figures, or that it failed once."""
    rows = {}
    for (kind, point), programs in samples.items():
        rows.setdefault(kind, {})[str(point)] = {
            name: {figure: statistics.median(values) for figure, values in it.items()}
            for name, it in programs.items()}
    return rows


def tabulate(rows):
    lines = ["| | nexudus-proxy µs, p99 ms | nginx | HAProxy | × nginx | p99 × the better |",
             "|---|---:|---:|---:|---:|---:|"]
    for kind, points in rows.items():
        for point, programs in points.items():
            good = {name: it for name, it in programs.items() if "failed" not in it}
            ours, nginx = good.get("nexudus_proxy"), good.get("nginx")
            others = [it["p99_ms"] for name, it in good.items() if it is not ours]
            cells = [cell(programs.get(maker.__name__)) for maker in PAIRED]
            cells += [f"{ours['cpu_us'] / nginx['cpu_us']:.2f}" if ours and nginx else "–",
                      f"{ours['p99_ms'] / min(others):.2f}" if ours and others else "–"]
            lines.append(f"| {kind} {int(point):,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(it):
    if not it:
        return "–"
    return "lost requests" if "failed" in it else f"{it['cpu_us']:.1f}, {it['p99_ms']:.1f}"


def publish(results):
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    machine = results["machine"]
    said = (f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, load before "
            f"{machine['load']:.1f}; median of {machine['rounds']} rounds of {machine['seconds']} s.")
    pictures = []
    for kind, points in results["rows"].items():
        name = f"growth-{kind}.svg"
        series = {}
        for point, programs in points.items():
            for program, it in programs.items():
                if "failed" not in it:
                    series.setdefault(program, []).append((int(point), it["cpu_us"]))
        (HERE / name).write_text(plot.lines(f"µs CPU per request by {kind}", series))
        pictures.append(f"![µs CPU per request by {kind}]({name})")
    page = HERE / "README.md"
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    body = "\n".join([said, "", tabulate(results["rows"]), *pictures])
    page.write_text(f"{before}{MARKS[0]}\n{body}\n{MARKS[1]}{after}")


MARKS = ("<!-- growth: growth.py --write -->", "<!-- end of growth -->")

if __name__ == "__main__":
    main()

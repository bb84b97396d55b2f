#!/usr/bin/env python3
"""The memory of a daemon while a redacted client reads one answer of 500 MB.

    benches/long_answer.py [PROGRAM] [MEGABYTES]     target/release/nexudus-proxy and 500 without them

Every record has six personal values of its own, so that the table of tokens is full after the first tenth.
In the last fifth the memory must stay where it is, and no personal value may arrive. With `--redact`, and with
`--redact --resolve`, which remembers the values too.
"""

import http.client
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import proxies
import upstream

UPSTREAM, DATA = 28581, 28582

# More than the last fifth of the answer may add to what the others took, in KiB.
GROWTH = 8 << 10


def main(program="target/release/nexudus-proxy", megabytes="500"):
    records = int(megabytes) * 1_000_000 // len(upstream.COWORKER % {"nth": 100_000})
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, UPSTREAM, coworkers=records)
        with measure.running(command, 1, UPSTREAM):
            results = [read(work / flags[-1], authority, Path(program).resolve(), records, flags)
                       for flags in (["--redact"], ["--redact", "--resolve"])]
    sys.exit(0 if all(results) else 1)


def read(home, authority, program, records, flags):
    """Reads the answer once, and says whether the memory has stayed flat."""
    home.mkdir()
    proxy = proxies.nexudus_proxy(home, UPSTREAM, authority, program, DATA)
    with measure.running(proxy.command, 0, DATA, proxy.environment) as process:
        measure.settle(f"http://127.0.0.1:{DATA}/api/small")
        add = [program, "client", "add", "bot", "--config", proxy.command[3], *flags]
        key = subprocess.run(add, check=True, env=proxy.environment, capture_output=True,
                             text=True).stdout.strip()
        connection = http.client.HTTPConnection("127.0.0.1", DATA, timeout=60)
        connection.request("GET", "/api/spaces/coworkers", headers={"Nexudus-Proxy-Key": key})
        answer = connection.getresponse()
        begun, idle = time.monotonic(), measure.memory(process.pid)
        used, whole, tail, ids, peaks = measure.cpu(process.pid), 0, b"", 0, [0] * 10
        expected = records * len(upstream.COWORKER % {"nth": 100_000})
        while piece := answer.read1(1 << 16):
            whole += len(piece)
            text = tail + piece
            for marker in (b"@example.com", b"Lovelace", b"7700 9"):
                if marker in text:
                    raise RuntimeError(f"{marker} has arrived")
            # What the two have in common is counted once.
            ids += text.count(b'"UniqueId":') - tail.count(b'"UniqueId":')
            tail = text[-64:]
            if whole % 61 == 0:
                tenth = min(9, whole * 10 // expected)
                peaks[tenth] = max(peaks[tenth], measure.memory(process.pid)["resident_kib"])
        used = measure.cpu(process.pid) - used
    if ids != records or not tail.endswith(b"}"):
        raise RuntimeError(f"{ids} of {records} records have arrived: {tail}")
    print(f"{' '.join(flags)}: {whole / 1e6:.0f} MB, {records} records in {time.monotonic() - begun:.0f} s, "
          f"{used * 1e9 / whole:.1f} ns of CPU a byte; resident {idle['resident_kib'] / 1024:.0f} MiB before, "
          f"at most in each tenth {' '.join(f'{peak / 1024:.0f}' for peak in peaks)}")
    return max(peaks[8:]) - max(peaks[:8]) <= GROWTH


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""The load under which packaging/profile.sh records which code a daemon runs: benches/train.py PROGRAM.

Callers alone and many at once, bodies both ways, headers, errors of the upstream, a named client, a redacted one,
intercepted requests and tunnels. Nothing is measured.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import proxies
import upstream

HERE = Path(__file__).resolve().parent
UPSTREAM, DATA = 28595, 28596

UPLOAD = """
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
wrk.body = string.rep("{\\"Id\\":1,\\"FullName\\":\\"Ada Lovelace\\"},", SIZE / 35)
"""


def main(program):
    program = Path(program).resolve()
    with tempfile.TemporaryDirectory(prefix="nexudus-train-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx drops to another user when root starts it
        command, authority = upstream.prepare(work, UPSTREAM)
        proxy = proxies.nexudus_proxy(work, UPSTREAM, authority, program, DATA)
        with measure.running(command, 1, UPSTREAM), \
                measure.running(proxy.command, 0, DATA, proxy.environment, end_limit=30):
            load(work, proxy)
    # Redaction and the inspector; the forward proxy.
    for bench in (["features.py", program, "--rounds", "2", "--requests", "1000"], ["forward.py", program]):
        subprocess.run([HERE / bench[0], *bench[1:]], check=True, stdout=subprocess.DEVNULL)


def load(work, proxy):
    url = f"http://127.0.0.1:{DATA}"
    measure.settle(f"{url}/api/small")
    for callers in (1, 32, 32, 256):
        measure.wrk(f"{url}/api/small", callers, 3, 1)
    for size in upstream.SIZES[:5]:
        measure.wrk(f"{url}/api/sized/{size}", 8, 2, 1)
    headers = [word for nth in range(24) for word in ("-H", f"X-Train-{nth}: {nth:032}")]
    measure.wrk(f"{url}/api/small", 8, 2, 1, headers)
    measure.wrk(f"{url}/api/small", 8, 2, 1, ["-H", "Connection: close"])
    for size in (200, 64 << 10):
        script = work / f"upload-{size}.lua"
        script.write_text(UPLOAD.replace("SIZE", str(size)))
        measure.wrk(f"{url}/api/upload", 8, 2, 1, ["-s", str(script)])
    add = [*proxy.command[:1], "client", "add", "train", *proxy.command[2:4]]
    key = subprocess.run(add, env=proxy.environment, check=True, capture_output=True, text=True).stdout.strip()
    measure.wrk(f"{url}/api/small", 8, 2, 1, ["-H", f"Authorization: Bearer {key}"])


if __name__ == "__main__":
    main(*sys.argv[1:])

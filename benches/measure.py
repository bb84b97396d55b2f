"""What one program costs: CPU time, memory and time, read from the kernel."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def family(pid):
    """Returns a process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid] + [it for child in children for it in family(int(child))]


def cpu(pid):
    """Returns the CPU seconds that a family of processes has used, in user and kernel."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def cpu_nanos(pid, thread=""):
    """Returns the CPU nanoseconds of a process, or of its threads whose names begin so.

    The kernel counts what a thread has had when it last let go of its core: exact where all wait.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if (task / "comm").read_text().startswith(thread):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def split(runtime):
    """Returns the share of requests of each data thread, from the metrics."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(f"{runtime}/nexudus-proxy/admin.sock")
        admin.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
    counts = [float(it) for it in re.findall(r"data_thread_requests_total\{.*\} (\d+)", text)]
    return [count / sum(counts) for count in counts]


def lock_waits(pid, load):
    """Returns the largest share of the time of a load that a data thread waits for a lock.

    A thread without work waits in `epoll_wait`; in `futex` it waits for another thread.
    """
    if not shutil.which("strace"):
        return None
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir()
             if (task / "comm").read_text().startswith("data")]
    traces = [subprocess.Popen(["strace", "-c", "-w", "-e", "trace=futex", "-p", task.name],
                               stderr=subprocess.PIPE, text=True) for task in tasks]
    for trace in traces:
        trace.stderr.readline()  # "strace: Process N attached"
    started = time.monotonic()
    load()
    elapsed = time.monotonic() - started
    waits = []
    for trace in traces:
        trace.send_signal(signal.SIGINT)
        _, table = trace.communicate()
        total = re.search(r"^\s*[\d.]+\s+([\d.]+)\s.*\btotal$", table, re.MULTILINE)
        waits.append(float(total[1]) if total else 0.0)
    return max(waits) / elapsed


def memory(pid):
    """Returns anonymous and resident KiB of a family of processes."""
    anonymous = resident = 0
    for member in family(pid):
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/{member}/status").read_text()
            anonymous += int(re.search(r"RssAnon:\s+(\d+)", status)[1])
            resident += int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    return {"anonymous_kib": anonymous, "resident_kib": resident}


def program(pid):
    """Returns the size of the program that a process runs, unless that is an interpreter."""
    path = Path(os.readlink(f"/proc/{pid}/exe"))
    return {} if path.name.startswith("python") else {"binary_bytes": path.stat().st_size}


@contextlib.contextmanager
def running(command, core, port, environment=None, limit=20, end_limit=5):
    """Starts a program on one core, waits until its port answers, and stops it in the end."""
    if answers(port):
        raise SystemExit(f"something listens on port {port} already")
    started = time.monotonic()
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - started > limit:
                said = process.stderr.read().decode(errors="replace") if process.poll() is not None else "(too slow)"
                raise RuntimeError(f"{command[0]} did not start: {said}")
            time.sleep(0.001)
        process.ready_after = time.monotonic() - started
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(end_limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def first(pid):
    """Lets a family of processes run before all others for a while, if that is allowed."""
    def let(*policy):
        for member in family(pid) if FIRST else []:
            subprocess.run(["chrt", *policy, "-p", "10" if "-f" in policy else "0", str(member)],
                           check=True)

    let("-f")
    try:
        yield
    finally:
        let("-o")


# Before a command: it runs before all others. Real-time priority takes root.
FIRST = ["chrt", "-f", "10"] if os.geteuid() == 0 else []


def answers(port):
    """Says whether something listens on a local port."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def ask(connection, request):
    """Sends a request for the small answer and reads that to its end."""
    connection.sendall(request)
    answer = b""
    while not answer.endswith(b"]}"):
        piece = connection.recv(65536)
        if not piece:
            raise RuntimeError("a connection was closed instead of answered")
        answer += piece


def wrk(url, connections, seconds, core, words=(), meanwhile=None):
    """Runs wrk with further words on one core and returns what it saw."""
    load = subprocess.Popen(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
         "--timeout", "10s", "--latency", *words, url], stdout=subprocess.PIPE, text=True)
    if meanwhile:
        meanwhile()
    out, _ = load.communicate()
    if load.returncode:
        raise RuntimeError(f"wrk ended with {load.returncode}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = re.search(r"Socket errors: (.*)", out)
    if bad or errors:
        raise RuntimeError(f"{url}: {(bad or errors)[0]}")
    return {
        "requests": int(re.search(r"(\d+) requests in", out)[1]),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50_ms": milliseconds(re.search(r"(?m)^\s+50%\s+(\S+)", out)[1]),
        "p99_ms": milliseconds(re.search(r"(?m)^\s+99%\s+(\S+)", out)[1]),
    }


def settle(url):
    """Waits until a request is answered: a token, a connection, a first handshake."""
    for _ in range(200):
        try:
            download(url, 0)
            time.sleep(0.2)
            return
        except subprocess.CalledProcessError:
            time.sleep(0.05)
    raise RuntimeError("no answer")


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def download(url, core, times=1):
    """Downloads one file with curl on one core; returns bytes and seconds."""
    started = time.monotonic()
    total = 0
    for _ in range(times):
        out = subprocess.run(
            ["taskset", "-c", str(core), "curl", "-sS", "--fail", "-o", "/dev/null",
             "-w", "%{size_download}", url], capture_output=True, text=True, check=True).stdout
        total += int(out)
    return total, time.monotonic() - started

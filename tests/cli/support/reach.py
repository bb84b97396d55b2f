"""Tries to leave an isolation: prints each attempt with `done` or `denied`.

Arguments: JSON with pid, tcp (ports), unix (paths), datagram (a path), abstract (a name), files (paths).
"""

import ctypes
import fcntl
import json
import os
import pty
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
given = json.loads(sys.argv[1])


def attempt(name, action):
    try:
        outcome = "done" if action() is not False else "denied"
    except OSError as error:
        outcome = f"denied  # {error}"
    print(f"{name}: {outcome}", flush=True)



def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as it:
        it.settimeout(5)
        it.connect(address)


def past_a_pair(path):
    # The end of a pair of datagram sockets, led to another path.
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(path)


def trace(pid):
    call(101, 16, pid, 0, 0)  # ptrace(PTRACE_ATTACH)
    os.waitpid(pid, 0)
    call(101, 17, pid, 0, 0)  # PTRACE_DETACH


def read(path):
    if os.path.isdir(path):
        return bool(os.listdir(path))
    with open(path, "rb") as file:
        return bool(file.read())


def type_into_terminal():
    _, slave = pty.openpty()
    fcntl.ioctl(slave, 0x5412, b"x")


def io_uring():
    call(425, 1, ctypes.create_string_buffer(120))


def key():
    call(250, 1, 0)  # keyctl(KEYCTL_JOIN_SESSION_KEYRING)


for path in given["unix"]:
    attempt(f"unix {os.path.basename(path)}", lambda: connect(socket.AF_UNIX, path))
attempt("unix of no family", lambda: socket.socket(socket.AF_UNIX).close())
attempt("datagram past a pair", lambda: past_a_pair(given["datagram"]))
attempt("abstract", lambda: connect(socket.AF_UNIX, "\0" + given["abstract"]))
for port in given["tcp"]:
    attempt(f"tcp {port}", lambda: connect(socket.AF_INET, ("127.0.0.1", port)))
for path in given["files"]:
    attempt(f"file {os.path.basename(path)}", lambda: read(path))
attempt("process seen", lambda: os.listdir(f"/proc/{given['pid']}"))
attempt("process signalled", lambda: os.kill(given["pid"], 0))
attempt("process traced", lambda: trace(given["pid"]))
attempt("io_uring", io_uring)
attempt("keyring", key)
attempt("terminal", type_into_terminal)
attempt("mount taken away", lambda: call(166, given["files"][0].encode(), 2))

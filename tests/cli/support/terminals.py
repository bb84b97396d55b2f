"""Runs a command in one of two terminals, with a shell text that tries to reach the other.

    terminals.py COMMAND [ARGUMENT...]     the text is added as the last argument

Prints what the terminal showed and the exit code, and whether the other terminal was `untouched`.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

TEXT = """
trap 'stty size' WINCH
trap 'echo interrupted; exit 5' INT
[ -t 0 ] && [ -t 1 ] && echo a terminal
stty size
echo by its name > /dev/tty
/usr/bin/python3 -c 'import os, pty; os.ttyname(pty.openpty()[1]); print("a new one")'
for name in OTHER /dev/tty[0-9]* /dev/vcs*; do
    (: < "$name") 2>/dev/null && echo "read $name"
    (echo reached > "$name") 2>/dev/null && echo "wrote $name"
done
echo ready
while :; do sleep 0.05; done
"""


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


other, end = pty.openpty()
os.write(other, b"typed by the person\n")
text = TEXT.replace("OTHER", os.ttyname(end))
ready, go = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.read(ready, 1)
    os.execv(sys.argv[1], sys.argv[1:] + [text])
resize(terminal, 33, 77)
os.write(go, b"x")

shown = b""


def wait_for(line):
    global shown
    while line not in shown:
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit(f"no {line} in {shown}")
        shown += os.read(terminal, 4096)


wait_for(b"ready\r\n")
resize(terminal, 40, 90)
wait_for(b"40 90\r\n")
os.write(terminal, b"\x03")
_, status = os.waitpid(pid, 0)
try:
    while some := os.read(terminal, 4096):
        shown += some
except OSError:
    pass
print(shown.decode().replace("\r\n", "\n").replace("^C", ""), end="")
print(f"=> {os.waitstatus_to_exitcode(status)}")
is_typed = os.read(end, 100) == b"typed by the person\n"
# The terminal itself shows what is typed.
is_clean = os.read(other, 4096) == b"typed by the person\r\n"
print("untouched" if is_typed and is_clean else "touched")

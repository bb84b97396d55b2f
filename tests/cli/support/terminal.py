"""Runs a command in a terminal of its own and answers its prompts.

    terminal.py MODE 'PROMPT=ANSWER' ... -- COMMAND [ARGUMENT...]

Prints all that the terminal showed, then `=> CODE`. Ends with 99 if a prompt does not come.

MODE is one of
    --when-hidden  a password is typed once the terminal hides it, as by a person who reads the prompt
    --at-once      each answer is typed the instant that its prompt appears
    --gone         each answer is typed as its prompt appears, into a terminal that controls nothing, so
                   that no signal tells of its end; the answer `!GONE` closes it, `!EOF` is Ctrl-D
    --signals      as --when-hidden; the answer `!NAME` is a signal to the command, whose state and
                   whether the terminal shows what is typed are printed
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

mode = sys.argv[1]
split = sys.argv.index("--")
answers = [pair.split("=", 1) for pair in sys.argv[2:split]]


def in_a_terminal_that_goes_away():
    terminal, end = pty.openpty()
    command = subprocess.Popen(
        sys.argv[split + 1 :],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(end)
    shown = b""
    for prompt, answer in answers:
        while prompt.encode() not in shown:
            some = os.read(command.stdout.fileno(), 4096)
            if not some:
                break
            shown += some
        if answer == "!GONE":
            os.close(terminal)
        elif answer == "!EOF":
            os.write(terminal, b"\x04")
        else:
            os.write(terminal, answer.encode() + b"\n")
    try:
        shown += command.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        command.kill()
        shown += b"it did not end\n"
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    sys.stdout.write(text + "=> %d\n" % command.wait())


if mode == "--gone":
    in_a_terminal_that_goes_away()
    sys.exit()
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])
held = None
if mode == "--signals":
    # Without this end, the terminal's state is gone with the command. The number is TIOCGPTN.
    number = struct.unpack("I", fcntl.ioctl(terminal, 0x80045430, bytes(4)))[0]
    held = os.open("/dev/pts/%d" % number, os.O_RDWR | os.O_NOCTTY)

shown = b""
seen = 0
status = None
deadline = time.monotonic() + 60


def is_hidden():
    return not termios.tcgetattr(terminal)[3] & termios.ECHO


def wait_until(condition, what):
    while not condition():
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit(what)
        time.sleep(0.001)


def send(name):
    """Sends a signal, and goes on with a command that it has stopped."""
    global shown
    os.kill(child, getattr(signal, "SIG" + name))
    if name != "TSTP":
        return
    stopped = []

    def is_stopped():
        pid, how = os.waitpid(child, os.WUNTRACED | os.WNOHANG)
        stopped.append(pid and os.WIFSTOPPED(how))
        return stopped[-1]

    wait_until(is_stopped, "the command does not stop")
    shown += b"<stopped, echo %s>" % (b"off" if is_hidden() else b"on")
    os.kill(child, signal.SIGCONT)


while status is None:
    if time.monotonic() > deadline:
        os.kill(child, signal.SIGKILL)
        sys.stdout.write(shown.decode(errors="replace") + "=> 99\n")
        sys.exit(99)
    if not select.select([terminal], [], [], 0.05)[0]:
        pid, how = os.waitpid(child, os.WNOHANG) if held else (0, 0)
        status = how if pid else None
        continue
    try:
        some = os.read(terminal, 4096)
    except OSError:  # the other end is closed
        some = b""
    if not some:
        break
    shown += some
    if answers and answers[0][0].encode() in shown[seen:]:
        seen = len(shown)
        prompt, answer = answers.pop(0)
        if mode != "--at-once" and not prompt.startswith("E-mail"):
            wait_until(is_hidden, "the answer is not hidden")
        if mode == "--signals" and answer.startswith("!"):
            send(answer[1:])
        else:
            os.write(terminal, answer.encode() + b"\n")

if status is None:
    status = os.waitpid(child, 0)[1]
if held:
    shown += b"<echo %s>" % (b"off" if is_hidden() else b"on")
text = shown.decode(errors="replace").replace("\r\n", "\n")
sys.stdout.write(text + "=> %d\n" % os.waitstatus_to_exitcode(status))

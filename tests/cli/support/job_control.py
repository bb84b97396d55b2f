"""An interactive shell in a terminal of its own, and a person who types into it.

    job_control.py 'ACTION=TEXT' ... -- SHELL [ARGUMENT...]

Each action is one of
    type     types a line
    key      presses Ctrl with this letter
    see      waits until the terminal has shown this text, behind what was seen before
    stopped  waits until a process whose command line begins with this text is stopped
    running  waits until none is
    signal   `NAME TEXT`: signals the first process whose command line holds the text

Ends with 0 if all came; else with 1, and prints what did not and all that the terminal showed.
"""

import glob
import os
import pty
import select
import signal
import sys
import time

split = sys.argv.index("--")
actions = [argument.split("=", 1) for argument in sys.argv[1:split]]
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])

shown = b""
seen = 0
deadline = time.monotonic() + 60


def read_some(seconds):
    global shown
    if select.select([terminal], [], [], seconds)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            pass  # the shell has ended


def states(is_meant):
    """Returns pid and state of each process of this terminal whose command line is meant."""
    found = []
    for directory in glob.glob("/proc/[0-9]*"):
        pid = int(directory[6:])
        try:
            arguments = open(directory + "/cmdline", "rb").read().replace(b"\0", b" ")
            state, _, _, session = open(directory + "/stat").read().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(session) == child != pid and is_meant(arguments):
            found.append((pid, state))
    return sorted(found)


def is_done(action, text):
    global seen
    if action == "see":
        at = shown.find(text.encode(), seen)
        if at < 0:
            return False
        seen = at + len(text)
        return True
    of_text = states(lambda arguments: arguments.startswith(text.encode()))
    is_stopped = [state == "T" for _, state in of_text]
    return any(is_stopped) if action == "stopped" else bool(of_text) and not any(is_stopped)


for action, text in actions:
    if action == "type":
        os.write(terminal, text.encode() + b"\n")
    elif action == "key":
        os.write(terminal, bytes([ord(text) - ord("a") + 1]))
    elif action == "signal":
        name, text = text.split(" ", 1)
        os.kill(states(lambda it: text.encode() in it)[0][0], getattr(signal, "SIG" + name))
    else:
        while not is_done(action, text):
            if time.monotonic() > deadline:
                print(f"{action} {text!r} did not come; the terminal showed:")
                print(shown.decode(errors="replace"))
                os.kill(child, signal.SIGHUP)
                sys.exit(1)
            read_some(0.02)
os.kill(child, signal.SIGHUP)

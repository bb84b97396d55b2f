"""Runs a command in a terminal of its own and answers its prompts.

    terminal.py 'PROMPT=ANSWER' ... -- COMMAND [ARGUMENT...]

Prints all that the terminal showed, then `=> CODE`. Ends with 99 if a prompt does not come. A
password is typed once the terminal hides it, as by a person who reads the prompt first.
"""

import os
import pty
import select
import sys
import termios
import time

split = sys.argv.index("--")
answers = [pair.split("=", 1) for pair in sys.argv[1:split]]
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])

shown = b""
seen = 0
deadline = time.monotonic() + 60
while True:
    if time.monotonic() > deadline:
        os.kill(child, 9)
        sys.stdout.write(shown.decode(errors="replace") + "=> 99\n")
        sys.exit(99)
    if not select.select([terminal], [], [], 0.5)[0]:
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
        hidden = answers[0][0].startswith("Password")
        while hidden and termios.tcgetattr(terminal)[3] & termios.ECHO:
            if time.monotonic() > deadline:
                sys.exit("the password is not hidden")
            time.sleep(0.01)
        os.write(terminal, answers.pop(0)[1].encode() + b"\n")

status = os.waitpid(child, 0)[1]
text = shown.decode(errors="replace").replace("\r\n", "\n")
sys.stdout.write(text + "=> %d\n" % os.waitstatus_to_exitcode(status))

"""Runs a program at a terminal of its own, and passes on what is typed and shown.

A byte 1 in what is typed, which no test types, has it say whether the terminal shows what is typed.
When its own input ends it closes the terminal, as a window that is closed does. Its last line is the
program's exit status, or the signal that ended it, negative.
"""

import os
import pty
import select
import signal
import sys
import termios

pid, terminal = pty.fork()
if pid == 0:
    # Who runs the tests may ignore it, as `nohup` does, and the program then would as well.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


def say(text):
    os.write(1, f"\n[{text}]\n".encode())


while True:
    ready, _, _ = select.select([0, terminal], [], [])
    if terminal in ready:
        try:
            shown = os.read(terminal, 4096)
        except OSError:
            break
        os.write(1, shown)
        continue
    typed = os.read(0, 4096)
    if not typed:
        os.close(terminal)
        break
    for n, keys in enumerate(typed.split(b"\x01")):
        if n > 0:
            is_on = termios.tcgetattr(terminal)[3] & termios.ECHO
            say("echo is on" if is_on else "echo is off")
        if keys:
            os.write(terminal, keys)

_, status = os.waitpid(pid, 0)
say(f"status {os.waitstatus_to_exitcode(status)}")

"""Become a program that never outlives the process that started it.

Run as a script, apart from the package: `leash.py PARENT SIGNAL LIFELINE UID:GID|- PROGRAM [ARGUMENT…]`. Linux sends
SIGNAL when the parent ends, however it ends (prctl(2), PR_SET_PDEATHSIG); elsewhere a watching process does, which
reads the LIFELINE, a pipe whose other end only the parent has. Changing the user clears the wish, so the user comes
first. A program of its own, because a `preexec_fn` may deadlock in a process that has threads.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.2
CANNOT_RUN = 126


def main(parent: int, signal_number: int, lifeline: int, account: str, command: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the parent blocks its signals while it starts us
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if account != "-":
        become(*map(int, account.split(":")))
    if prctl is None or prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        watch(lifeline, signal_number)
    if os.getppid() != parent:  # it ended before the wish was known
        return
    os.set_inheritable(lifeline, False)  # noqa: FBT003  -- takes no keywords
    os.execv(command[0], command)  # noqa: S606  -- this is the program's whole purpose


def become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def watch(lifeline: int, signal_number: int) -> None:
    """Leave a process behind, nobody's child, that outlasts neither the parent nor the program."""
    program = os.getpid()
    if (child := os.fork()) != 0:
        os.waitpid(child, 0)
        return
    if os.fork() == 0:
        os.setsid()
        while runs(program) and not select.select([lifeline], [], [], POLL_SECONDS)[0]:
            pass
        if runs(program):
            os.kill(program, signal_number)
    os._exit(0)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
    except OSError as failure:
        sys.stderr.write(f"cannot run {sys.argv[5]}: {failure.strerror}\n")
        sys.exit(CANNOT_RUN)

"""One dramatiq worker in a process of our own, as the supervisor starts it: `python -m worker.supervision.child FD`.

Not the dramatiq command: it stops all processes when one dies, and orphans them when it is killed itself.
"""

import sys
import time

import dramatiq

from domain import log
from domain.processes import gc_tuning, parent_watch
from domain.processes.stop_signals import StopSignals
from domain.webhooks.claiming import SOUND_MOST, TROUBLED_MOST
from worker.loops import Loops
from worker.webhooks.feed_tip import Tip

# A thread for every possible claim on webhooks, so that none waits behind receivers that hang, and two more.
THREADS = SOUND_MOST + TROUBLED_MOST + 2
# How often an idle queue is polled, which is how long the first event for a webhook waits.
IDLE_MILLISECONDS = 200
THREAD_CHECK_SECONDS = 0.1
STOP_MILLISECONDS = 2_000  # for threads, then consumers; with the loops' 3 s it is less than the supervisor's 8 s

log_ = log.get("worker.supervision.child")  # not __name__, which is __main__ here


def main(lifeline_fileno: int) -> int:
    parent_watch.hold(lifeline_fileno)
    signals = StopSignals()
    from worker import actors, broker  # noqa: F401, PLC0415  -- reads the settings, and declares the actors

    log.configure(level=broker.settings.log_level, style=broker.settings.log_format)
    gc_tuning.settle()
    return run(broker.broker, loops=broker.loops, signals=signals, tip=broker.deliverer.tip)


def run(broker: dramatiq.Broker, *, loops: Loops, signals: StopSignals, tip: Tip) -> int:
    """Work until a stop signal, exit code 0, or until a thread has died, exit code 1."""
    worker = dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=IDLE_MILLISECONDS)
    broker.emit_after("process_boot")  # the time limit's clock starts with it
    worker.start()
    log_.info("worker_process_started")
    while not signals.stopping and (sound := _sound(worker, loops)):
        time.sleep(THREAD_CHECK_SECONDS)
    tip.stop()
    worker.stop(timeout=STOP_MILLISECONDS)
    log_.info("worker_process_stopped")
    return 0 if signals.stopping or sound else 1


def _sound(worker: dramatiq.Worker, loops: Loops) -> bool:
    threads = [*worker.workers, *worker.consumers.values()]
    if loops.alive and all(thread.is_alive() for thread in threads):
        return True
    log_.critical("worker_thread_died", threads=[thread.name for thread in threads if not thread.is_alive()])
    return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""Python's cyclic garbage collector, set for a process that makes many short-lived objects and hardly a cycle.

As it comes it looks after every 700 new objects, a few requests' worth, and now and then at all that was ever imported:
5 % of a busy machine were spent on that. Memory is freed by reference counts meanwhile, as ever.
"""

import gc

YOUNG = 20_000  # objects made before a look at them


def settle() -> None:
    """Called once a process is set up: what there is by now stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])

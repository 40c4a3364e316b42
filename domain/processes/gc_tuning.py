"""Python's cyclic garbage collector, tuned for a process that makes many short-lived objects and few cycles.

By default it runs after every 700 new objects, a few requests' worth, and sometimes over everything that was imported:
5 % of a busy machine. Reference counts free memory as before.
"""

import gc

YOUNG_OBJECTS = 20_000  # new objects between two collections of the youngest generation


def settle() -> None:
    """Call once a process is set up: the objects that exist by then are exempt from collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])

"""Sealing secrets at rest: the ring of keys, and its rotation."""

from domain.sealing.key_ring import KeyRing, load, make_file, parse

__all__ = ["KeyRing", "load", "make_file", "parse"]

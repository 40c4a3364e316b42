"""Processes of any kind: children, parent watch, stop signals, background probes, metrics folder, garbage collector."""

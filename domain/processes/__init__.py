"""Processes of any kind: starting children, watching a parent, tuning the garbage collector."""

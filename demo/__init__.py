"""A farm at work in the terminal, and the proof that it kept its word: `python -m demo`.

A plain client: it knows Botfarm from outside only, over HTTP and the Redis Stream.
"""

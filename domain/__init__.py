"""The rules of Botfarm: who may hold which user, and which events say so.

A function that reads or changes the farm takes a connection, and whoever calls it owns the transaction. What needs no
database takes values: settings, sealing, cursors, addresses, logging. Nothing here knows the web or the queue, and
nothing but `domain.redis` knows Redis.
"""

"""The rules of Botfarm: who may hold which user, and what everybody is told about it.

Everything here takes a connection and values, and knows neither HTTP nor queues.
"""

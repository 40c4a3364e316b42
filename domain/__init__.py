"""The rules of Botfarm: who may hold which user, and which events say so.

Everything here takes a connection and values, and knows neither HTTP nor queues.
"""

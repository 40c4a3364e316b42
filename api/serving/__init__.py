"""Sockets and processes: how a connection reaches an app. Knows no locks."""

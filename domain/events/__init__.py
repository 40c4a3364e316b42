"""Events: the outbox, the numbered feed, cursors and epochs, retention, and their contract."""

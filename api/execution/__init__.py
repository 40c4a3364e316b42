"""How changes are made: group commit, the dispatcher of the waiting line, deadlines, threads. Knows no Redis."""

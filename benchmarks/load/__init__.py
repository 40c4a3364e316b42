"""The load: clients, consumers, the relay beside it, and how their answers are counted."""

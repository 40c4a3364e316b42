"""Deliveries: which are due, how they are sent and signed, and where they may go."""

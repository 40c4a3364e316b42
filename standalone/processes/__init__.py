"""What keeps the programs of a standalone farm running, and ends them with it."""

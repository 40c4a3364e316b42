"""The worker's processes, and the page that says how they are."""

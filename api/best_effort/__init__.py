"""What may all be lost: cache writes, wake-ups, what follows a commit. Nothing here is waited for."""

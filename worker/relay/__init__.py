"""From the outbox to the stream: numbering, appending, pacing, cache updates."""

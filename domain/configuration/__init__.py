"""Settings, the files they may stand in, and the checks at start."""

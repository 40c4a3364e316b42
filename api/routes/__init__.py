"""Routes: typed input, one domain call, an answer."""

"""The only part of the domain that knows Redis: the client and the read cache. No lock decision imports it."""

"""Events as they come: one tailer for all, subscriptions, Server-Sent Events. A stream holds no connection."""

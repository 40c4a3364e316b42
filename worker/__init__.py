"""What runs beside the API: the relay of events, the clean-up of lapsed locks, webhooks and retention.

No lock needs a worker to be granted or to end; without a worker only events are delayed.
"""

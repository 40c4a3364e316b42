"""What runs beside the API: the relay of events, the tidying of lapsed locks and the retention.

Nothing here is needed for a lock to be granted or to end; a worker that is away only delays events.
"""

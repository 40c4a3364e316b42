"""The waiting line's conditions, which both those in line and those who would overtake it are judged by.

A request is *attended* while a call that asks for it is open: its `home`, the process that has the call, was seen a
moment ago. Only attended requests block others and are granted. Requests that ask for the same share a `selector`;
the distinct selectors are few where the requests are many, so those are what is looked at.
"""

DEAD_SECONDS = 4.0  # a process that was not seen for so long attends nobody
KEPT_SECONDS = 15.0  # how long a place is kept while nobody asks

WAITING = "q.granted_at IS NULL"
ATTENDED = "q.satisfiable AND q.home IS NOT NULL AND q.home IN (SELECT id FROM alive)"  # said twice for the index
FREE = "u.status = 'active' AND u.available_at <= (SELECT clock_timestamp())"

ALIVE = f"""alive AS MATERIALIZED (
    SELECT id FROM homes WHERE seen_at > (SELECT clock_timestamp()) - make_interval(secs => {DEAD_SECONDS})
)"""

# A loose index scan: one step a selector, however many wait under each. Only what somebody may wait for is looked at.
SELECTORS = """selectors (selector) AS (
    (SELECT selector FROM lock_requests WHERE granted_at IS NULL AND home IS NOT NULL ORDER BY selector LIMIT 1)
    UNION ALL
    SELECT (
        SELECT q.selector FROM lock_requests q
        WHERE q.granted_at IS NULL AND q.home IS NOT NULL AND q.selector > s.selector ORDER BY q.selector LIMIT 1
    ) FROM selectors s WHERE s.selector IS NOT NULL
)"""

# One attended request of each selector stands for all of them.
HEADS = f"""heads AS MATERIALIZED (
    SELECT h.* FROM selectors s CROSS JOIN LATERAL (
        SELECT q.selector, q.user_id, q.project_id, q.env, q.domain, q.labels, q.projects FROM lock_requests q
        WHERE {WAITING} AND q.selector = s.selector AND {ATTENDED} LIMIT 1
    ) h WHERE s.selector IS NOT NULL
)"""

# The three together, as every statement that may not overtake the line begins.
LINE = f"{ALIVE}, {SELECTORS}, {HEADS}"

# A request that could never be satisfied neither blocks nor is granted. Whoever adds or changes users gives all of them
# new hope, and the next sweep judges: until then they block rather than are overtaken.
MARK_SATISFIABLE = """
UPDATE lock_requests SET satisfiable = true WHERE id IN (
    SELECT id FROM lock_requests WHERE granted_at IS NULL AND NOT satisfiable ORDER BY id FOR UPDATE SKIP LOCKED
)
"""


def matches(user: str, wish: str) -> str:
    """SQL for whether a user may be given to a request; both are aliases."""
    return f"""(({wish}.user_id IS NULL OR {user}.id = {wish}.user_id)
        AND ({wish}.project_id IS NULL OR {user}.project_id = {wish}.project_id)
        AND ({wish}.env IS NULL OR {user}.env = {wish}.env)
        AND ({wish}.domain IS NULL OR {user}.domain = {wish}.domain)
        AND ({wish}.projects IS NULL OR {user}.project_id = ANY ({wish}.projects))
        AND {user}.labels @> {wish}.labels)"""


def kept(user: str) -> str:
    """SQL for whether somebody who waits in line could take the user, so that nobody else may."""
    return f"EXISTS (SELECT FROM heads h WHERE {matches(user, 'h')})"

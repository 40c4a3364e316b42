"""Pages of lists, and the links that lead from one to the next."""

from urllib.parse import urlencode

from fastapi import Request


def link(request: Request, *, after: object) -> str:
    """RFC 8288: the same question, from where this page ends. Relative, for a proxy may have changed the host."""
    parameters = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    return f'<{request.url.path}?{urlencode([*parameters, ("after", str(after))])}>; rel="next"'

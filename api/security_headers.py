"""What every answer tells browsers: nothing of this service is framed, sniffed, or lent to another site.

HSTS is not among them: only the proxy that ends TLS knows whether there is any.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

POLICY = b"content-security-policy"
EVERYWHERE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Data is no page: nothing may be loaded by what looks like one. A page of ours states a policy of its own.
DATA: tuple[Header, ...] = (*EVERYWHERE, (POLICY, b"default-src 'none'; frame-ancestors 'none'"))


def beside(headers: Iterable[Header]) -> tuple[Header, ...]:
    """Those to add to an answer that has these."""
    return EVERYWHERE if any(name == POLICY for name, _ in headers) else DATA

"""What every answer tells browsers: nothing of this service is framed, sniffed, or lent to another site.

HSTS is not among them: only the proxy that ends TLS knows whether there is any.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

POLICY = b"content-security-policy"
EVERYWHERE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Data is no page: nothing may be loaded by what looks like one, and it says no more than that, for each header costs
# every call a microsecond. `frame-ancestors` is what X-Frame-Options was.
DATA: tuple[Header, ...] = (*EVERYWHERE, (POLICY, b"default-src 'none'; frame-ancestors 'none'"))
# A page of ours states a policy of its own, and has this for browsers of every age.
PAGE: tuple[Header, ...] = (
    *EVERYWHERE,
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def beside(headers: Iterable[Header]) -> tuple[Header, ...]:
    """Those to add to an answer that has these."""
    for name, _ in headers:
        if name == POLICY:
            return PAGE
    return DATA

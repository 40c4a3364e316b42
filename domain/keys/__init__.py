"""API keys: who calls, what the caller may do, and where.

# What is kept

A key is `bf_`, 32 random characters and 6 that check them. It is shown once, when it is made or rotated; kept is its
SHA-256 alone. A plain hash will do where a password would need a slow one: nobody guesses 190 random bits. The name of
a key is the principal, that is who holds the locks taken with it, so it is unique among the keys that are not revoked.

# How a key is recognised

`forms.digest` is the only function that a presented key goes into, and what it gives is the only thing that goes on to
the database. A key that was mistyped fails its checksum there, and the database is not asked at all.

Source of the form: GitHub's token formats, https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/.
"""

from domain.keys.forms import SCOPES, Scope, digest
from domain.keys.recognising import Recognised, note_use, recognise
from domain.keys.registering import Key, NewKey, create, find, get, revoke, rotate

__all__ = [
    "SCOPES",
    "Key",
    "NewKey",
    "Recognised",
    "Scope",
    "create",
    "digest",
    "find",
    "get",
    "note_use",
    "recognise",
    "revoke",
    "rotate",
]

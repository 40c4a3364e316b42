"""Webhooks: receivers that are sent the events, each in order, from a cursor of its own.

# One cursor, one delivery in flight

A webhook has one cursor and is sent one event at a time: the next only after the last was acknowledged. So order
holds, and a receiver that is down keeps nobody waiting but itself. An event that is not acknowledged is tried again by
a published schedule (`schedules`); after the last try the webhook is disabled with its cursor kept, and goes on there
when somebody enables it.

# Who sends

The schedule is these rows and nothing else. A worker looks for webhooks that have something to be sent
(`claiming.due`), *claims* them, and hands each claim to whoever has a thread free. To start, the claim is exchanged
for a token, so that a claim that comes twice, or late, starts nothing. Whatever is written afterwards is written under
the token. Claims and tokens lapse by the database's clock: a message that was lost, or a process that died, only
delays. A receiver may therefore see an event again after such a death, with the same `webhook-id`.

Source: Standard Webhooks 1.0 (https://www.standardwebhooks.com), whose schedule, headers and secrets these are.
"""

from domain.webhooks.claiming import Claim, Due, Stretch, claim, due, exist, skip
from domain.webhooks.deliveries import ask_again, find_deliveries, prune
from domain.webhooks.registering import NewWebhook, change, create, find, get, remove, resume, rotate_secret
from domain.webhooks.reporting import Figures, figures
from domain.webhooks.sending import (
    TOKEN_SECONDS,
    Again,
    Outcome,
    Run,
    delivered,
    disable,
    failed,
    look,
    release,
    repeated,
    start,
)
from domain.webhooks.views import Delivery, Webhook

__all__ = [
    "TOKEN_SECONDS",
    "Again",
    "Claim",
    "Delivery",
    "Due",
    "Figures",
    "NewWebhook",
    "Outcome",
    "Run",
    "Stretch",
    "Webhook",
    "ask_again",
    "change",
    "claim",
    "create",
    "delivered",
    "disable",
    "due",
    "exist",
    "failed",
    "figures",
    "find",
    "find_deliveries",
    "get",
    "look",
    "prune",
    "release",
    "remove",
    "repeated",
    "resume",
    "rotate_secret",
    "skip",
    "start",
]

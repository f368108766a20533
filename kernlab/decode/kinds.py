"""The types that a field of an event can have in an expression."""

from __future__ import annotations

NUMBER, TEXT, FLAGS, STATE, ADDRESS, STACK, OPEN = (
    "number",
    "text",
    "flags",
    "state",
    "address",
    "stack",
    "open",
)
# A number that has a name beside it in the event: it compares with either.
NAMED = "named"

"""A packet that the kernel dropped: at which function, and why it says so.

Linux: kfree_skb() until v5.16, kfree_skb_reason() since v5.17 (c504e5c2f964), and since v6.11
sk_skb_reason_drop() (ba8de796baf4); tcp_drop() and tcp_drop_reason() call them. Their reason
is a value of enum skb_drop_reason, which every version numbers anew: names come from the
kernel's own debug info. With one that means no drop the packet is consumed, not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENUM = "skb_drop_reason"
_PREFIX = "SKB_DROP_REASON_"
_PROBES = ("kfree_skb", "kfree_skb_reason", "sk_skb_reason_drop", "tcp_drop", "tcp_drop_reason")
_NO_DROP = ("SKB_NOT_DROPPED_YET", "SKB_CONSUMED")
_ENTRIES = (*_PROBES, "__kfree_skb_reason")


def name(event: dict[str, Any], reasons: Mapping[int, str]) -> None:
    """Note ``drop.reason`` in an event whose ``args`` have a drop reason's value."""
    value = (event.get("args") or {}).get("reason")
    if event.get("probe") in _PROBES and isinstance(value, int) and value in reasons:
        event["drop"] = {"reason": reasons[value].removeprefix(_PREFIX)}


def said(event: Mapping[str, Any]) -> str:
    """Where and why an event drops its packet; empty for one that does not."""
    reason = (event.get("drop") or {}).get("reason")
    if event.get("probe") not in _PROBES or "ret" in event or reason in _NO_DROP:
        return ""
    callers = [str(frame.get("func")) for frame in (event.get("stack") or ())[1:]]
    where = next((func for func in callers if func not in _ENTRIES), "")
    parts = ["dropped", f"in {where}" if where else "", f"({reason})" if reason else ""]
    return " ".join(filter(None, parts))

"""An skb → what it is and the packet in it.

Which header is valid depends on where the kernel stands; ``site`` says so
(configs/sites.yaml). Offsets in an skb: include/linux/skbuff.h, struct sk_buff.
"""

from __future__ import annotations

import base64
from typing import Any, Dict, Mapping, Optional, Tuple

from kernlab.decode import protocols
from kernlab.decode.layout import Layout, View, read_struct
from kernlab.decode.memory import Memory, Unreadable, read_to_page_end
from kernlab.decode.names import flags_text
from kernlab.decode.packet import packet
from kernlab.decode.place import Header, SiteSpec
from kernlab.decode.protocols.model import Protocol

HEADER_BYTES = 128  # kept as "raw" in the event
_IP = (0x0008, 0xDD86)  # ETH_P_IP, ETH_P_IPV6 in network order, read as little-endian
_UNSET = 0xFFFF  # skb->transport_header before it is set

_OWN = ("len", "data_len", "dev", "sk", "head", "users.refs.counter", "destructor")
_HEADERS = ("data", "network_header", "transport_header")


def members(header: Header, control_block: bool) -> Tuple[str, ...]:
    """The members of a struct sk_buff that ``decode_skb`` reads where such a header is valid, and
    TCP_SKB_CB if ``control_block``: for those who fetch an skb in pieces. The control block is
    ``cb``: see ``CB_MEMBERS``."""
    found: Tuple[str, ...] = _OWN
    if header in ("network", "transport", "protocol") or header in protocols.BY_NAME:
        found += _HEADERS
    if header == "protocol":
        found += ("protocol",)
    if header == "cb" or control_block:
        found += ("cb",)
    return found


# Of struct tcp_skb_cb, at skb->cb.
CB_MEMBERS = ("seq", "end_seq", "ack_seq", "tcp_flags")


def decode_skb(
    memory: Memory,
    layout: Layout,
    address: int,
    site: SiteSpec,
    sock: Optional[Mapping[str, Any]] = None,
) -> Tuple[Optional[Dict[str, Any]], Optional[Dict[str, Any]]]:
    """The skb's own fields, and its packet where ``site`` says that a header is valid.

    ``sock`` gives addresses and ports where no header has been built yet.
    """
    view = read_struct(memory, layout, "sk_buff", address)
    if view is None:
        return None, None
    skb: Dict[str, Any] = {"addr": "0x%x" % address}
    for name in ("len", "data_len"):
        value = view.get(name)
        if value is not None:
            skb[name] = value
    device = device_name(memory, layout, view.get("dev"))
    if device is not None:
        skb["dev"] = device
    head, users = view.get("head"), view.get("users.refs.counter")
    if head:
        skb["head"] = "0x%x" % head
    if users is not None:
        skb["users"] = users
    owner = view.get("sk")
    if owner:
        skb["sk"] = "0x%x" % owner
        if view.get("destructor") in layout.senders:
            skb["owner"] = "sender"
    header = site["header"]
    found: Optional[Dict[str, Any]] = None
    if site["tcp_cb"]:
        said = _control_block(layout, view)
        if said:
            skb["cb"] = said
    if header in ("network", "transport") or (header == "protocol" and _says_ip(view)):
        found = _from_header(memory, view, header == "transport")
    elif header in protocols.BY_NAME:
        found = _from_own_header(memory, view, sock, protocols.BY_NAME[header])
    elif header == "cb":
        found = _from_cb(layout, view, sock)
    if found is not None and site["direction"] != "none":
        found["direction"] = site["direction"]
    return skb, found


def skb_device(memory: Memory, layout: Layout, address: int) -> Optional[int]:
    """skb->dev, the address of a struct net_device, where a packet is on its way in."""
    view = read_struct(memory, layout, "sk_buff", address, ("dev",))
    return None if view is None else view.get("dev")


def device_name(memory: Memory, layout: Layout, address: Optional[int]) -> Optional[str]:
    """A net_device's name; None where there is none to be read."""
    place = layout.field("net_device", "name")
    if not address or place is None:
        return None
    try:
        raw = memory.read(address + place[0], place[1])
    except Unreadable:
        return None  # skb->dev shares its place with a list's links in a socket's queue
    name = raw.split(b"\0")[0]
    if not name or any(byte <= 32 or byte == 127 for byte in name):
        return None  # no interface name: the kernel refuses these (dev_valid_name())
    return name.decode("utf-8", "replace")


def _from_header(memory: Memory, view: View, transport_valid: bool) -> Optional[Dict[str, Any]]:
    head, data = view.get("head"), view.get("data")
    length, network = view.get("len"), view.get("network_header")
    if not head or data is None or length is None or network is None:
        return None
    start = head + network
    # Bytes that belong to the packet from its IP header on, paged data included.
    actual = data + length - start
    linear = actual - (view.get("data_len") or 0)
    try:
        raw = read_to_page_end(memory, start, max(1, min(HEADER_BYTES, max(linear, 20))))
    except Unreadable:
        return None
    transport = view.get("transport_header") if transport_valid else None
    offset = None
    if transport is not None and transport != _UNSET and transport >= network:
        offset = transport - network
    found = packet(raw, transport=offset, actual=actual)
    if found is not None:
        found["raw"] = base64.b64encode(raw[: max(0, min(len(raw), actual))]).decode("ascii")
    return found


def _says_ip(view: View) -> bool:
    """skb->protocol is IPv4 or IPv6 and the network header is set: it is 0 in a new skb
    (net/core/skbuff.c, __alloc_skb()), where no packet can begin."""
    network = view.get("network_header")
    return view.get("protocol") in _IP and network not in (None, 0, _UNSET)


def _from_own_header(
    memory: Memory, view: View, sock: Optional[Mapping[str, Any]], row: Protocol
) -> Optional[Dict[str, Any]]:
    """A protocol's header without an IP header before it; addresses are the sock's."""
    head, data, length = view.get("head"), view.get("data"), view.get("len")
    transport = view.get("transport_header")
    if not head or data is None or length is None or transport in (None, _UNSET):
        return None
    start = head + transport
    actual = data + length - start
    try:
        raw = read_to_page_end(memory, start, max(1, min(60, actual)))
    except Unreadable:
        return None
    fields = row.decode(raw, actual, None)
    return {**_addresses(sock), "proto": row.name, **fields} if fields else None


def _addresses(sock: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    names = ("family", "src", "sport", "dst", "dport")
    return {name: sock[name] for name in names if sock is not None and name in sock}


def _control_block(layout: Layout, view: View) -> Dict[str, Any]:
    """TCP_SKB_CB(skb), include/net/tcp.h: sequence numbers in host order."""
    block = view.bytes("cb")
    if block is None:
        return {}
    cb = View(layout, "tcp_skb_cb", block, 0)
    said: Dict[str, Any] = {name: cb.get(name) for name in CB_MEMBERS[:3]}
    flags = cb.get("tcp_flags")
    if flags is not None:
        said["flags"] = flags_text(flags)
    return {name: value for name, value in said.items() if value is not None}


def _from_cb(
    layout: Layout, view: View, sock: Optional[Mapping[str, Any]]
) -> Optional[Dict[str, Any]]:
    """What a segment will say once its header is built."""
    cb = _control_block(layout, view)
    if "seq" not in cb or "flags" not in cb:
        return None
    found = _addresses(sock)
    flags = cb["flags"]
    found.update(proto=protocols.TCP.name, flags=flags, seq=cb["seq"])
    if "A" in flags and sock is not None and "rcv_nxt" in sock:
        found["ack"] = sock["rcv_nxt"]
    length = view.get("len")
    if length is not None:
        found["len"] = length
    return found

"""Values of an event that may be of any type, compared with what a person writes.

A number may be written as the name of a TCP state, as flags or NULL; GDB gives an enum's value
by its name, and an address as text.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Optional

from kernlab.decode.macros import NUMBERS
from kernlab.decode.names import STATE_NUMBERS, flags_value


def state_number(text: str) -> Optional[int]:
    """A TCP state's number by its name, with the kernel's TCP_ before it or without."""
    name = text.upper()
    return STATE_NUMBERS.get(name[4:] if name.startswith("TCP_") else name)


def number_of(text: str) -> Optional[int]:
    """What a word stands for where a number is: a state, a flag of the kernel's, NULL, flags by
    name or letter; None for a word that is not the name of one."""
    if text.upper() in ("NULL", "FALSE"):
        return 0
    if text.lower() == "true":
        return 1
    state = state_number(text)
    if state is not None:
        return state
    if text in NUMBERS:
        return NUMBERS[text]
    try:
        return flags_value(text) if text[:1].isalpha() and text == text.upper() else None
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def number_in(found: Any, value: Any) -> Any:
    """A field's value as it compares with ``value``: an address as the number it is."""
    if isinstance(found, str) and _is_address(found) and (_is_number(value) or value is found):
        return int(found, 16)
    return found


def _is_address(text: str) -> bool:
    return re.fullmatch(r"0x[0-9a-f]+", text) is not None


def number_for(value: Any, found: Any) -> Any:
    """A value as it compares with a field's: where that is a number, a word stands for one.
    Raises ``TypeError`` for a word that does not."""
    if not isinstance(value, str):
        return value
    if _is_number(found) or (isinstance(found, str) and _is_address(found)):
        number = number_of(value)
        if number is None and _is_number(found):
            raise TypeError(value)
        return value if number is None else number
    return value


def same(found: Any, value: Any) -> bool:
    value = number_for(value, found)
    found = number_in(found, value)
    if isinstance(found, str) and isinstance(value, str) and found != value:
        number = state_number(found)  # GDB names an enum's values: TCP_ESTABLISHED
        return number is not None and number == state_number(value)
    return bool(found == value)


def has(found: Any, value: Any) -> bool:
    if _is_number(found):
        bits = flags_value(value) if isinstance(value, str) and value not in NUMBERS else value
        bits = NUMBERS[bits] if isinstance(bits, str) else bits
        return int(found) & int(bits) == int(bits)
    return value in found


def _plain(address: Any) -> Any:
    """An IPv4-mapped address as the IPv4 address that it stands for."""
    return getattr(address, "ipv4_mapped", None) or address


def network_of(text: str) -> Any:
    """An address or a prefix, as a network. Raises ``ValueError``."""
    one = text if "/" in text else _plain(ipaddress.ip_address(text))
    return ipaddress.ip_network(one, strict=False)


def inside(found: str, network: Any) -> bool:
    """Whether an event's address lies in a network. Raises ``ValueError`` for no address."""
    address = _plain(ipaddress.ip_address(found))
    return address.version == network.version and address in network

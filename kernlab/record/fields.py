"""docs/expressions.md: the expression language and every field it knows, made of
configs/fields.yaml and the tables that the parser itself uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.decode.expr import ALLOWED
from kernlab.decode.fields import SHORT, TYPES
from kernlab.decode.names import FLAG_NAMES, TCP_STATES
from kernlab.record.expression import Expression

# Meaning, and an expression that uses the field.
Meaning = tuple[str, Expression]

_HEAD = """\
# Expressions

One language serves `--where`, the causes in `configs/reasons/`, the verdicts of labs and the
filter box of the report page. `kernlab config expressions > docs/expressions.md` makes this page.

    port == 8080 and flags has FIN
    state in (CLOSE_WAIT, LAST_ACK) or len > 0
    not (src in 10.0.0.0/8)
    stack has tcp_ack and sock.snd_cwnd < 10
    tcp_sk(sk)->snd_una == tcp_sk(sk)->snd_nxt

An expression is a test, or tests joined by `and`, `or` and `not` (also `&&`, `||`, `!`), with
parentheses. A test is a field, an operator and a value; a field alone asks whether it is there.

| operator | is true when |
| --- | --- |
| `==`, `!=` | the field is, or is not, the value; flags are compared as a whole |
| `<` `<=` `>` `>=` | the number is smaller or larger |
| `in` | the field is one of a list `(80, 8080)`, or the address is inside a prefix |
| `has` | these flags are set, whatever else is; the list or the stack holds the value |
| `~` | the regular expression is found in the text |

A word with blanks or parentheses stands in quotes: `comm == 'my prog'`.

TCP flags are written by name or by letter: `flags has FIN`, `flags == SYN-ACK`, `flags == SA`.
The names are {flags}.
TCP states are written by name, with `TCP_` or without:
{states}.

A field can be absent: an event without a packet has no port. A test of an absent field is neither
true nor false, and neither is `not` of it; `--where` shows an event only when the expression is
true.

A C expression is a field as well, and is read like one of `--show` where the guest stops:
`sk->sk_state == CLOSE_WAIT`, `tcp_hdr(skb)->fin`, `sk->sk_flags & 1`. Alone it asks, as in C,
whether it is not 0. The engine gdb reads any; the others know what their events hold.
"""


class FieldTable(Model):
    """``fields`` by their paths, ``short`` names, and ``open`` groups of names by what they begin
    with: each with its meaning and an example."""

    fields: dict[str, Meaning]
    short: dict[str, Meaning]
    open: dict[str, Meaning]


def page() -> str:
    """The page. Raises ``BadInput`` for a table that does not fit the language."""
    return "\n".join(_lines(load(config_file("fields.yaml"), FieldTable)))


def _lines(table: FieldTable) -> Iterator[str]:
    yield _HEAD.format(flags=_listed(FLAG_NAMES), states=_listed(TCP_STATES.values()))
    yield "## Short names\n"
    yield "A short name stands for the packet's field where the event has a packet, otherwise for"
    yield "the socket's.\n"
    kinds = {name: TYPES[SHORT[name][0][0]] for name in table.short}
    yield from _table(table.short, kinds)
    yield "\n## Fields\n"
    yield "What an event holds, by its path in `events.jsonl` (`kernlab config schema event`).\n"
    yield from _table(table.fields, TYPES)
    yield "\n## Names that depend on the event\n"
    kinds = {name: "as there" if "quoted" in name else "open" for name in table.open}
    yield from _table(table.open, kinds)
    yield "\n## Which operators a type takes\n"
    yield "| type | operators |\n| --- | --- |"
    for kind, words in ALLOWED.items():
        yield f"| {kind} | {' '.join(f'`{word}`' for word in sorted(words))} |"
    yield ""


def _table(rows: Mapping[str, tuple[str, str]], kinds: Mapping[str, str]) -> Iterator[str]:
    yield "| field | type | meaning | example |\n| --- | --- | --- | --- |"
    for name, (meaning, example) in rows.items():
        shown = f"{name}…" if name.endswith((".", "-")) else name
        yield f"| `{shown}` | {kinds[name]} | {meaning} | `{example}` |"


def _listed(names: Iterable[str]) -> str:
    lines, line = [], ""
    for name in names:
        word = f"`{name}`, "
        if len(line) + len(word) > 98:
            lines.append(line.rstrip())
            line = ""
        line += word
    return "\n".join([*lines, line.rstrip(", ")])

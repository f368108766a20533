"""What a filter asks of causes."""

from __future__ import annotations

from kernlab.config.yaml import near
from kernlab.decode.expr import Expr
from kernlab.errors import BadInput
from kernlab.reasons.foreign import FOREIGN
from kernlab.reasons.match import UNKNOWN
from kernlab.reasons.model import Reasons


def known_causes(where: Expr | None, reasons: Reasons) -> None:
    """Raises ``BadInput`` for a filter that asks for a cause that there is not: nothing would
    pass it."""
    known = [*reasons, UNKNOWN, FOREIGN]
    for test in where.tests() if where is not None else ():
        if test.name != "rst.cause" or test.operator not in ("==", "!=", "in"):
            continue
        for asked in test.value if isinstance(test.value, tuple) else (test.value,):
            if isinstance(asked, str) and asked not in known:
                close = near(asked.upper(), known) or near(asked, known)
                raise BadInput(
                    f"--where '{test}': there is no cause '{asked}'",
                    f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}",
                    "--where 'rst.cause == A1'",
                )

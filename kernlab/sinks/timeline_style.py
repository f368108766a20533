"""The stylesheet of a timeline's SVG: light, and dark where the viewer asks for it.

Every rule is below the class klt, so that a page that holds pictures keeps its own look.
"""

from __future__ import annotations

LOCKS = 5  # colours for locks, by turns
# name → (light, dark)
_COLOURS = {
    "bg": ("#ffffff", "#0d1117"),
    "panel": ("#f6f8fa", "#161b22"),
    "code": ("#eaeef2", "#21262d"),
    "edge": ("#d0d7de", "#30363d"),
    "text": ("#1f2328", "#e6edf3"),
    "dim": ("#59636e", "#9198a1"),
    "a": ("#0969da", "#4493f8"),
    "b": ("#8250df", "#ab7df8"),
    "bad": ("#cf222e", "#f85149"),
    "good": ("#1a7f37", "#3fb950"),
    "warn": ("#9a6700", "#d29922"),
    "lock0": ("#bf8700", "#d29922"),
    "lock1": ("#1b7c83", "#39c5cf"),
    "lock2": ("#bf3989", "#f778ba"),
    "lock3": ("#4d7c0f", "#7ee787"),
    "lock4": ("#a04100", "#ffa657"),
}
_SANS = (
    'system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "DejaVu Sans", '
    "sans-serif"
)
_MONO = (
    'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", '
    "monospace"
)


def style() -> str:
    """The rules: f-NAME fills with a colour, l-NAME draws a line in it."""
    rules = [
        f".klt{{font-family:{_SANS};font-size:14px}}",
        f".klt .m{{font-family:{_MONO};font-size:12.5px}}",
        ".klt .s{font-size:12px}",
        ".klt .h{font-size:14.5px;font-weight:600}",
        ".klt .t{font-size:22px;font-weight:700}",
        ".klt .o{font-size:17px;font-weight:700}",
        ".klt .w{font-weight:600}",
        ".klt .e{text-anchor:end}",
        ".klt .c{text-anchor:middle}",
        ".klt .n{font-size:13px;font-weight:700;text-anchor:middle}",
    ]
    for kind in (0, 1):
        block = []
        for name, pair in _COLOURS.items():
            block.append(f".klt .f-{name}{{fill:{pair[kind]}}}")
            block.append(f".klt .l-{name}{{stroke:{pair[kind]};fill:none}}")
        rules += (
            block if kind == 0 else ["@media (prefers-color-scheme:dark){" + "".join(block) + "}"]
        )
    return "".join(rules)

"""A race's window from the tracer's lines."""

from __future__ import annotations

from kernlab.race.natural import spans

# As /sys/kernel/tracing/instances/window/trace and /proc/cpuinfo print them.
TRACE = """\
# tracer: nop
#           TASK-PID     CPU#  ||||   TIMESTAMP  FUNCTION
         A-ready-78      [001] ....  11125627455: open: (inet_ehash_insert+0x9c/0x230)
         A-ready-78      [001] ....  11125630055: shut: (inet_ehash_insert+0x16e/0x230)
         A-ready-78      [001] ....  11166590305: shut: (inet_ehash_insert+0x16e/0x230)
         A-ready-78      [001] .N..  11166840000: open: (inet_ehash_insert+0x9c/0x230)
         B-ready-79      [000] ....  11166840100: shut: (inet_ehash_insert+0x16e/0x230)
         A-ready-78      [001] .N..  11166845200: shut: (inet_ehash_insert+0x16e/0x230)
cpu MHz\t\t: 2600.000
"""


def test_a_window_is_one_tasks_from_its_opening_to_its_end() -> None:
    assert spans(TRACE) == [1000, 2000]


def test_without_the_rate_of_the_clock_nothing_is_told() -> None:
    assert spans(TRACE.replace("cpu MHz", "MHz")) == []
    assert spans(TRACE.replace("2600.000", "0.000")) == []

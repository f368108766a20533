"""The kernel's own tracers by tracefs: what a probe fetches, the ring buffer's pages, the
guest program between. Linux: Documentation/trace/kprobetrace.rst, ftrace.rst."""

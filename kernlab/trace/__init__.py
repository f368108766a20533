"""Tracing: a plan for one kernel, a workload, an engine, events."""

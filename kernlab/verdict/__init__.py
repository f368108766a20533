"""Predicates on what a run left: counters, segments, events, causes, results. Runs nothing."""

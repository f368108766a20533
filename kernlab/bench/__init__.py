"""Measured tables: each row's contenders side by side in one run, one after the other.

Figures of different machines or runs are not comparable; the ratio of two figures from one
run is.
"""

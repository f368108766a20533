"""Labs: lessons with a trigger, probes and a verdict that a program checks."""

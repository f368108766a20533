"""One run of a guest program in a network namespace of its own, measured."""

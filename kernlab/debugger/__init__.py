"""GDB over its machine interface: a reader of our own around pygdbmi's parser."""

"""One running machine: QEMU's arguments, its life cycle, console, monitor and command channel."""

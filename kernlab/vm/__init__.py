"""One QEMU machine: its arguments, accelerator, life cycle, console and command channel."""

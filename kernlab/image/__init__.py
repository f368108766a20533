"""What the guest boots into: the initramfs, written without root."""

"""libbpf programs in a guest, beside what makes the packets, and what they complain of."""

"""What the engine bpf is made of: its plan and records as bytes, its filter, its program."""

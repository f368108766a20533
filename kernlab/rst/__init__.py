"""The detective, live side: which probes it needs, and findings while a trace runs."""

"""Guest programs: small static C programs of ours, and their build."""

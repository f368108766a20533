"""Races, forced: one vCPU is held at a chosen instant while another runs."""

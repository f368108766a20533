"""``python -m kernlab``."""

from kernlab.cli.main import main

main()

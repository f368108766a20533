"""What carries out a plan, one module each; they do not import each other."""

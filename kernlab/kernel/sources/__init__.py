"""Where source trees come from, one module each; tried in the order of configs/kernels.yaml."""

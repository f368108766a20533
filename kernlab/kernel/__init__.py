"""From a version to a built kernel: catalogue, sources, kconfig, build."""

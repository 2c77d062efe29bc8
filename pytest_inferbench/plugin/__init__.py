"""The pytest plugin: the only folder that imports pytest."""

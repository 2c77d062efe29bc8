"""The machine that measures: what it is, how fast it is, who uses it."""

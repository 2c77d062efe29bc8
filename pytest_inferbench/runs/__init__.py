"""The facts of a run, as values."""

"""Statistics on plain arrays: pure functions that import only numpy, scipy and each other."""

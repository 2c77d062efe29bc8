"""Reports: what was measured and judged, as text. None of them can change an outcome."""

"""Files: stored baselines, their format, and the resume cache."""

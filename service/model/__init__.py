"""The model: where it comes from, what is built from it for each runtime, and the cache that holds both."""

"""Payloads drawn by Hypothesis, and the slowest of them."""

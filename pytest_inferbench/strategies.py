"""Hypothesis strategies for what a model service may be sent; defined in `fuzz/`."""

from __future__ import annotations

from pytest_inferbench.fuzz.strategies import Body, blank_texts, hostile_bodies, scripts, texts, texts_by_tokens

__all__ = ["Body", "blank_texts", "hostile_bodies", "scripts", "texts", "texts_by_tokens"]

"""The same classifier with less to compute, to be exported: exact up to float noise, which the export checks.

The head of RoBERTa reads the first token and nothing else, so that of the last layer only the first token's row is
computed, from the keys and values of all. And query, key and value of a layer are one product instead of three, for
which a runtime prepares its input, and waits for its threads, once.
"""

# torch and transformers leave parts of their interface untyped.
# mypy: disallow-subclassing-any=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import RobertaForSequenceClassification


def lighten(model: Any) -> None:
    """Change ``model`` (eager attention, evaluation mode) in place; any but RoBERTa's classifier stays as it is."""
    if not isinstance(model, RobertaForSequenceClassification):
        return
    layers: Any = model.roberta.encoder.layer
    for layer in layers[:-1]:
        layer.attention.self = _OneProduct(layer.attention.self)
    layers[-1] = _FirstToken(layers[-1])


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Scaled dot-product attention as plain products: (batch, heads, queries, size) in, (batch, queries, all) out."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if mask is not None:
        scores = scores + mask
    return torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2).flatten(2)


class _OneProduct(nn.Module):
    """``RobertaSelfAttention`` with the weights of query, key and value in one matrix."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self._heads, self._size = attention.num_attention_heads, attention.attention_head_size
        self._scaling = attention.scaling
        parts = (attention.query, attention.key, attention.value)
        self.joint = nn.Linear(attention.query.in_features, 3 * attention.all_head_size)
        with torch.no_grad():
            self.joint.weight.copy_(torch.cat([part.weight for part in parts]))
            self.joint.bias.copy_(torch.cat([part.bias for part in parts]))

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        batch = hidden_states.shape[0]
        query, key, value = (
            part.view(batch, -1, self._heads, self._size).transpose(1, 2)
            for part in self.joint(hidden_states).chunk(3, dim=-1)
        )
        return _attend(query, key, value, attention_mask, self._scaling), None


class _FirstToken(nn.Module):
    """``RobertaLayer`` whose output is one token long: the first."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> Any:
        attention = self.layer.attention.self
        batch, first = hidden_states.shape[0], hidden_states[:, :1]
        query, key, value = (
            part.view(batch, -1, attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)
            for part in (attention.query(first), attention.key(hidden_states), attention.value(hidden_states))
        )
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        attended = _attend(query, key, value, mask, attention.scaling)
        return self.layer.feed_forward_chunk(self.layer.attention.output(attended, first))

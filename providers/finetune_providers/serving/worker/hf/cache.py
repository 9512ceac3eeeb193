# pyright: basic
"""The keys and values of a batch, with room kept ahead."""

from __future__ import annotations

from typing import Any

from transformers.cache_utils import Cache, DynamicLayer

_AHEAD = 64
"""Tokens between two copies. `torch.cat`, as transformers does it, copies everything with every token."""


class Growing(DynamicLayer):
    """One layer. `keys` and `values` are views of the filled part of the room, if there is one."""

    _room: Any = None

    def put(self, keys: Any, values: Any) -> None:
        """Hold these and nothing else."""
        self._room = None
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_args: Any, **_more: Any) -> tuple[Any, Any]:
        """Those of further tokens; answers all."""
        held = self.get_seq_length()
        if not held:
            self.put(key_states, value_states)
            return key_states, value_states
        upto = held + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < upto:
            self._room = (_roomy(self.keys, upto), _roomy(self.values, upto))
        keys, values = self._room
        keys[:, :, held:upto] = key_states
        values[:, :, held:upto] = value_states
        self.keys, self.values = keys[:, :, :upto], values[:, :, :upto]
        return self.keys, self.values


def growing() -> Cache:
    """An empty one; its layers come with the first forward."""
    return Cache(layer_class_to_replicate=Growing)


def _roomy(states: Any, upto: int) -> Any:
    rows, heads, held, size = states.shape
    room = states.new_empty((rows, heads, upto + _AHEAD, size))
    room[:, :, :held] = states
    return room

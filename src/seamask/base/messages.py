"""What processes that joined the default group of `torch.distributed` send each other."""

from __future__ import annotations

from torch import Tensor, distributed

# PyTorch 2.14 has another name for it, and warns of the old one.
_gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return `[R, ...]`, the tensors of all R processes, which are of one shape; no gradient."""
    found = tensor.new_empty(distributed.get_world_size() * tensor.numel())
    _gather(found, tensor.detach().flatten())
    return found.view(-1, *tensor.shape)


def summed(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; it is overwritten. No gradient."""
    distributed.all_reduce(tensor)
    return tensor

"""What a backbone has at each place before it pools: its last map of features, its attention."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from seamask.base.errors import UserError
from seamask.base.precision import at_least_float32


def feature_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return the last map of features before pooling, `[B, F, h, w]`.

    Args:
        backbone: a timm model, or a module with a `forward_features` like theirs.
        images: `[B, C, H, W]`.

    Raises:
        UserError: it has no such map.
    """
    if not hasattr(backbone, "forward_features"):
        raise UserError(
            f"{type(backbone).__name__} has no forward_features: what looks at places takes a "
            "timm model"
        )
    found = cast(Any, backbone).forward_features(images)
    if isinstance(found, Tensor) and found.ndim == 3:
        return grid_of_tokens(found[:, getattr(backbone, "num_prefix_tokens", 0) :], images)
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise UserError(f"{type(backbone).__name__} has no map of features before it pools")
    return found.movedim(-1, 1) if getattr(backbone, "output_fmt", "") == "NHWC" else found


def grid_of_tokens(tokens: Tensor, images: Tensor) -> Tensor:
    """Return tokens `[B, T, F]` of square patches as the map `[B, F, h, w]` of their images."""
    height, width = images.shape[-2:]
    patch = round((height * width / tokens.shape[1]) ** 0.5)
    return tokens.mT.reshape(len(tokens), -1, height // patch, width // patch)


def attention_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return how much a backbone attends to each place, `[B, h, w]`, at least 0.

    Of a ViT the attention of the class token to each patch in the last block, the mean over heads
    (Kakogeorgiou et al. 2022, section 3.1); without a class token that of all patches. Of other
    networks the norm of the last map of features.

    Args:
        backbone: a timm model.
        images: `[B, C, H, W]`.

    Raises:
        UserError: it has no map of features.
    """
    blocks = getattr(backbone, "blocks", None)
    attention: Any = (
        getattr(blocks[-1], "attn", None) if isinstance(blocks, nn.Sequential) else None
    )
    if not hasattr(attention, "qkv") or not hasattr(attention, "num_heads"):
        norm: Tensor = feature_map(backbone, images).norm(dim=1)
        return norm
    seen: list[Tensor] = []
    handle = attention.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        cast(Any, backbone).forward_features(images)
    finally:
        handle.remove()
    x = seen[0]  # [B, P + T, D]
    q, k, _ = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).unbind(2)
    q, k = attention.q_norm(q.transpose(1, 2)), attention.k_norm(k.transpose(1, 2))
    weights = at_least_float32(q * attention.scale @ k.mT).softmax(-1)  # [B, heads, P + T, P + T]
    prefix = getattr(backbone, "num_prefix_tokens", 0)
    asking = weights[:, :, :1] if prefix else weights
    return grid_of_tokens(asking.mean((1, 2))[:, prefix:, None], images)[:, 0]

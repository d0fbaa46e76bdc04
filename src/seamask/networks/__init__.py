"""Networks: backbones (timm) and the encoder around them."""

from seamask.networks.backbone import build_backbone
from seamask.networks.encoder import Encoder, projector

__all__ = ["Encoder", "build_backbone", "projector"]

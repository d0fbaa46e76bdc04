"""Networks: backbones (timm), the encoder around them, the masker's U-Net."""

from seamask.networks.backbone import build_backbone
from seamask.networks.encoder import Encoder, projector
from seamask.networks.unet import UNet

__all__ = ["Encoder", "UNet", "build_backbone", "projector"]

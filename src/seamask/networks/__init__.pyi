from .backbone import build_backbone as build_backbone
from .encoder import Encoder as Encoder
from .encoder import projector as projector
from .view_batchnorm import keep_views_apart as keep_views_apart

from .geometry import crop_masks as crop_masks
from .parameters import ViewParameters as ViewParameters
from .parameters import draw as draw
from .pipeline import Views as Views
from .pipeline import apply as apply
from .pipeline import normalize as normalize
from .settings import ViewsConfig as ViewsConfig

"""What a person looks at: figures."""

from seamask.show.figures import curves_figure, mask_figure

__all__ = ["curves_figure", "mask_figure"]

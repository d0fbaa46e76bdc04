"""What a person looks at: figures."""

from seamask.show.figures import coloured, curves_figure, mask_figure

__all__ = ["coloured", "curves_figure", "mask_figure"]

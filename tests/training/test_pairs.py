"""Two views of each part of a batch."""

import pytest
import torch
from runs import config_of

from seamask.training.pairs import pairs_of
from seamask.views import Views


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("fill", ["noise", "blur", "other"])
def test_methods_of_one_seed_see_the_same_views_whatever_fills_the_holes(
    tiny, tmp_path, parts, fill
):
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    seen = []
    for compare, what in ((("none",), "mean"), (("one",), fill)):
        changed = {"accumulate": parts, "masks.compare": compare, "masks.fill": what}
        config = config_of(tiny, tmp_path, **changed)
        views = Views(config.views, 32, (0.5,) * 3, (0.2,) * 3)
        seen.append(pairs_of(config, views, images, {}, torch.Generator().manual_seed(3)))
    assert len(seen[0]) == len(seen[1]) == parts
    for clean, masked in zip(*seen, strict=True):
        for a, b in zip(clean, masked, strict=True):
            assert torch.equal(a.images, b.images)
        assert any(view.fill is not None for view in masked)

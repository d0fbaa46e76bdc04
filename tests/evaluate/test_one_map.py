"""Which of its masks stands for an image."""

import pytest
import torch

from seamask.base.errors import UserError
from seamask.evaluate.one_map import check_rule, chosen, fix_rule


def three_masks():
    """The right third, the middle, nothing: [1, 3, 6, 6]."""
    masks = torch.zeros(1, 3, 6, 6)
    masks[0, 0, :, 4:] = 1
    masks[0, 1, 2:4, 2:4] = 0.9
    return masks


def pick(masks, rule):
    return chosen(masks, rule, threshold=0.5, empty=0.01)


def test_rules_choose_what_they_say():
    masks = three_masks()
    assert torch.equal(pick(masks, "border"), masks[:, 1])  # not the empty one
    assert torch.equal(pick(masks, "union"), masks[:, 0] + masks[:, 1])
    assert torch.equal(pick(masks, "1"), masks[:, 0])
    assert torch.equal(pick(masks[:, :1], "3"), masks[:, 0])
    assert torch.equal(pick(masks.flip(1), "border"), masks[:, 1])


def test_each_image_has_its_own_mask():
    masks = torch.cat([three_masks(), three_masks().flip(1)])
    masks[1, 2] = 0  # of the second image only the middle is left
    assert torch.equal(pick(masks, "border"), three_masks()[0, 1].expand(2, 6, 6))


@pytest.mark.parametrize(("rule", "parts"), [("border", [1]), ("1", [0]), ("union", [0, 1])])
def test_the_rule_that_does_best_on_training_images_is_fixed(rule, parts):
    masks = three_masks()
    objects = (masks[:, parts].amax(1) > 0).long()
    objects[0, 0, 0] = 255  # void is asked for nothing
    none = torch.zeros(1, 6, 6, dtype=torch.long)
    assert fix_rule(masks, objects, 0.5, 0.01) == rule
    together = torch.cat([objects, none])  # an image without objects says nothing
    assert fix_rule(torch.cat([masks, masks]), together, 0.5, 0.01) == rule


def test_what_is_no_rule_is_refused():
    for rule in ("auto", "border", "union", "1", "12"):
        check_rule(rule)
    for rule in ("0", "-1", "best", "1.5"):
        with pytest.raises(UserError, match=f"--rule {rule}: choose auto, border, union or a mask"):
            check_rule(rule)

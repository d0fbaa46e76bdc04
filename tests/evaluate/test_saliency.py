"""One map against objects: PySODMetrics' numbers, NumPy from the definitions, cases by hand.

`python tests/evaluate/test_saliency.py` prints `PYSOD` anew; it needs `pip install pysodmetrics`,
which is no dependency: it holds NumPy and scikit-image back and brings OpenCV along.
"""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from seamask.data.whole import Whole
from seamask.evaluate.saliency import (
    averaged,
    best_of,
    box_ious,
    f_curve,
    largest_box,
    s_measure,
    score_map,
)

# By pysodmetrics 1.6.2: the best of the mean curve, MAE and S-measure of each kind of map.
PYSOD = {
    "soft": (0.3765057372, 0.5293167085, 0.3056584632),
    "binary": (0.2779895585, 0.5658035454, 0.2240226473),
    "object": (1.0000000000, 0.0000000000, 1.0000000000),
    "empty": (0.0000000000, 0.3247856451, 0.4251945430),
    "full": (0.3775156218, 0.6752143549, 0.2499801882),
}


def cases(kind):
    """Five images, even and odd, with blobs as objects: (map in [0, 1] float64, truth)."""
    for seed, (height, width) in enumerate([(20, 30), (31, 17), (24, 24), (9, 40), (33, 35)]):
        draw = np.random.default_rng(seed)
        truth = gaussian_filter(draw.standard_normal((height, width)), 4) > 0.02
        noise = gaussian_filter(draw.standard_normal((height, width)), 2)
        noise = (noise - noise.min()) / (noise.max() - noise.min())
        yield (
            {
                "soft": noise,
                "binary": (noise > 0.5).astype(float),
                "object": truth.astype(float),
                "empty": np.zeros_like(noise),
                "full": np.ones_like(noise),
            }[kind],
            truth,
        )


@pytest.mark.parametrize("kind", PYSOD)
def test_measures_are_those_of_pysodmetrics(kind):
    pairs = list(cases(kind))
    curve = np.mean([f_curve(found, truth) for found, truth in pairs], axis=0)
    mae = np.mean([abs(found - truth).mean() for found, truth in pairs])
    structure = np.mean([s_measure(found, truth) for found, truth in pairs])
    assert (curve.max(), mae, structure) == pytest.approx(PYSOD[kind], abs=1e-9)


def test_f_by_definition_at_every_threshold():
    ((found, truth), *_) = cases("soft")
    stored = np.floor(found * 255)
    expected = []
    for threshold in range(255, 0, -1):
        taken = stored >= threshold
        precision = (taken & truth).sum() / max(taken.sum(), 1)
        recall = (taken & truth).sum() / truth.sum()
        above, below = 1.3 * precision * recall, 0.3 * precision + recall
        expected.append(above / below if below else 0)
    np.testing.assert_allclose(f_curve(found, truth), expected)


def test_f_of_each_image_and_of_the_mean_curve_are_told_apart():
    truth = np.zeros((4, 8), bool)
    truth[:, :4] = True
    image = Whole.of_map(np.zeros((4, 8, 3), np.uint8), truth.astype(np.uint8))
    dim, bright = torch.zeros(2, 4, 8)
    dim[:, :4] = 0.3  # right below 0.3, nothing above
    bright[:, :4], bright[:, 4:] = 1, 0.6  # right above 0.6, everything below: F = 1.3 / 2.3
    found = averaged([score_map(dim, image, 0.5), score_map(bright, image, 0.5)])
    assert found["max_f_image"] == pytest.approx(1)
    everything = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert found["max_f_curve"] == pytest.approx((1 + everything) / 2)
    assert found["saliency_iou"] == pytest.approx((0 + 0.5) / 2)
    assert found["pixel_accuracy"] == pytest.approx(0.5)
    assert found["mae"] == pytest.approx((0.35 + 0.3) / 2)


def two_objects():
    objects = np.zeros((10, 20), np.uint8)
    objects[1:5, 2:8] = 1
    objects[6:9, 12:18] = 2
    return Whole.of_map(np.zeros((10, 20, 3), np.uint8), objects)


def test_the_box_of_the_largest_component_finds_any_object():
    image = two_objects()
    assert image.boxes.tolist() == [[2, 1, 8, 5], [12, 6, 18, 9]]
    found = torch.zeros(10, 20)
    found[6:9, 12:16] = 1  # 12 pixels of the second: its box has IoU 4/6
    found[0, 0] = found[5, 16] = 1  # others, the last one touches at a corner alone
    scores = score_map(found, image, 0.5)
    assert scores.localised == pytest.approx(4 / 6)
    assert averaged([scores])["corloc"] == 1
    found[0, :16] = 1  # a larger one elsewhere
    assert score_map(found, image, 0.5).localised == pytest.approx(0)
    assert score_map(torch.zeros(10, 20), image, 0.5).localised == 0


def test_boxes_overlap_as_they_should():
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [10, 10, 12, 12]])
    assert box_ious(np.array([0, 0, 4, 4]), boxes) == pytest.approx([1, 4 / 28, 0])
    assert largest_box(np.zeros((3, 3), bool)) is None


def test_maps_are_compared_at_the_size_of_the_image():
    objects = np.zeros((40, 60), np.uint8)
    objects[:, 30:] = 1
    image = Whole.of_map(np.zeros((40, 60, 3), np.uint8), objects)
    scores = score_map(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), image, 0.5)
    assert scores.pixels.iou == 1  # bilinear: 0.5 is met in the middle
    assert scores.localised == 1


def test_void_counts_nowhere():
    image = two_objects()
    objects = image.objects.copy()
    objects[6:9, 12:18] = 255
    image = Whole.of_map(image.pixels, objects)
    assert len(image.boxes) == 1
    found = torch.zeros(10, 20)
    found[1:5, 2:8] = found[6:9, 12:18] = 1
    scores = score_map(found, image, 0.5)
    assert scores.pixels.iou == scores.pixels.accuracy == 1
    assert scores.pixels.mae == 0
    assert scores.pixels.s_measure == pytest.approx(1)


def test_boxes_alone_give_corloc_alone_and_the_oracle_goes_by_them():
    image = Whole(np.zeros((10, 20, 3), np.uint8), None, np.array([[2, 1, 8, 5]]))
    masks = torch.zeros(3, 10, 20)
    masks[0, 1:5, 2:4] = masks[1, 1:5, 2:8] = masks[2, 6:9, 12:18] = 1
    assert best_of(masks, image, 0.5) == 1
    assert averaged([score_map(masks[1], image, 0.5)]) == {"corloc": 1}


if __name__ == "__main__":
    import warnings

    import py_sod_metrics

    warnings.simplefilter("ignore")  # of a class that is to be replaced
    for kind in PYSOD:
        measures = {
            name: getattr(py_sod_metrics, name)() for name in ("Fmeasure", "MAE", "Smeasure")
        }
        for found, truth in cases(kind):
            for measure in measures.values():
                measure.step(found, truth, normalize=False)
        curve = measures["Fmeasure"].get_results()["fm"]["curve"][:-1]  # without "all pixels"
        mae, structure = measures["MAE"].get_results(), measures["Smeasure"].get_results()
        numbers = curve.max(), mae["mae"], structure["sm"]
        print(f'    "{kind}": ({", ".join(f"{number:.10f}" for number in numbers)}),')

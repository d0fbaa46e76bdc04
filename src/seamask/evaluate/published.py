"""What others publish on the same data sets, printed beside what is found here."""

from __future__ import annotations

_TOKENCUT = "README of YangtaoWANG95/TokenCut, of Wang et al., CVPR 2022"
_LOST = "README of valeoai/LOST, of Siméoni et al., BMVC 2021"
_SMALL = "ViT-S/16 of DINO"

# (data set, method, encoder, numbers in the units of the task, source). LOST's rows with a
# ResNet-50 are the fair neighbours: the others take a ViT, whose attention finds objects by itself.
ROWS: tuple[tuple[str, str, str, dict[str, float], str], ...] = (
    ("voc2007-trainval", "LOST", "ResNet-50 of DINO", {"corloc": 0.368}, _LOST),
    ("voc2007-trainval", "LOST", "ResNet-50, ImageNet labels", {"corloc": 0.335}, _LOST),
    ("voc2007-trainval", "LOST", _SMALL, {"corloc": 0.619}, _LOST),
    ("voc2007-trainval", "TokenCut", _SMALL, {"corloc": 0.688}, _TOKENCUT),
    ("voc2012-trainval", "LOST", "ResNet-50 of DINO", {"corloc": 0.427}, _LOST),
    ("voc2012-trainval", "LOST", "ResNet-50, ImageNet labels", {"corloc": 0.391}, _LOST),
    ("voc2012-trainval", "LOST", _SMALL, {"corloc": 0.640}, _LOST),
    ("voc2012-trainval", "TokenCut", _SMALL, {"corloc": 0.721}, _TOKENCUT),
    *(
        (
            data,
            method,
            _SMALL,
            {"max_f_curve": max_f, "saliency_iou": iou, "pixel_accuracy": accuracy},
            _TOKENCUT,
        )
        for data, method, max_f, iou, accuracy in (
            ("ecssd", "TokenCut", 0.803, 0.712, 0.918),
            ("ecssd", "TokenCut + bilateral solver", 0.874, 0.772, 0.934),
            ("duts-te", "TokenCut", 0.672, 0.576, 0.903),
            ("duts-te", "TokenCut + bilateral solver", 0.755, 0.624, 0.914),
            ("dut-omron", "TokenCut", 0.600, 0.533, 0.880),
            ("dut-omron", "TokenCut + bilateral solver", 0.697, 0.618, 0.897),
        )
    ),
)


def published(data: str) -> list[str]:
    """Return what is published on a data set, a line a row, with its source."""
    lines = []
    for name, method, encoder, numbers, source in ROWS:
        if name == data:
            found = ", ".join(f"{metric} {value:.3f}" for metric, value in numbers.items())
            lines.append(f"published: {method} ({encoder}) {found} [{source}]")
    return lines

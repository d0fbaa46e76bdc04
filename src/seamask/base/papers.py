"""The short names of sources that help and recipes give, and what they stand for."""

from __future__ import annotations

PAPERS = {
    "Seq": "Sam et al. 2022, Improving self-supervised representation learning via sequential "
    "adversarial masking",
    "ADIOS": "Shi et al. 2022 (ICML), Adversarial masking for self-supervised learning; its code "
    "and scripts",
    "SimCLR": "Chen et al. 2020 (ICML), A simple framework for contrastive learning of visual "
    "representations",
    "MSN": "Assran et al. 2022 (ECCV), Masked siamese networks for label-efficient learning; its "
    "code",
    "FCN": "Shelhamer et al. 2015, Fully convolutional networks for semantic segmentation",
    "torchvision": "torchvision's reference scripts, references/segmentation",
}


def papers_in(text: str) -> list[str]:
    """Return a line for each source that a text names in brackets: `[Seq] Sam et al. 2022, …`."""
    return [f"[{name}] {paper}" for name, paper in PAPERS.items() if f"[{name}]" in text]

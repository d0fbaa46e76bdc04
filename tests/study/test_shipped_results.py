"""Results that the repository holds can be gone on with by the code as it is."""

from pathlib import Path

import pytest

from seamask.study.columns import columns
from seamask.study.folder import StudyFolder
from seamask.study.results import read_results
from seamask.study.study import read_study

RESULTS = Path(__file__).parents[2] / "docs/results"
FILES = sorted(file for file in RESULTS.glob("*.jsonl") if file.with_suffix(".yaml").exists())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_goes_on_from_its_results(tmp_path, file):
    study = read_study(str(file.with_suffix(".yaml")), "somewhere", None, {})
    folder = StudyFolder(tmp_path / "study")
    folder.open(study)
    assert read_results(study, folder, file) > 0
    # Nor has anything since kept apart what is the same: a column an evaluation and image size.
    found = columns(study, folder)
    sizes = [
        (c.evaluation.title, c.metric, c.example.protocol["image_size"]) for c in found if c.example
    ]
    assert len(set(sizes)) == len(sizes)
    assert {title for title, *_ in sizes} == set(study.evaluations)

import hashlib
import tarfile

import pytest
import torchvision.datasets.inaturalist as published

from seamask.base.errors import UserError
from seamask.data.sets import inaturalist
from seamask.data.sets.inaturalist import CLASSES, supercategory

CATEGORIES = {
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris": "Animalia",
    "00001_Animalia_Arthropoda_Arachnida_Araneae_Agelenidae_Eratigena_duellica": "Arachnids",
    "00002_Animalia_Arthropoda_Insecta_Odonata_Aeshnidae_Aeshna_affinis": "Insects",
    "00003_Animalia_Arthropoda_Malacostraca_Decapoda_Portunidae_Carcinus_maenas": "Animalia",
    "00004_Animalia_Chordata_Actinopterygii_Siluriformes_Ictaluridae_Ameiurus_nebulosus": (
        "Ray-finned Fishes"
    ),
    "00005_Animalia_Chordata_Amphibia_Anura_Bufonidae_Bufo_bufo": "Amphibians",
    "00006_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Buteo_buteo": "Birds",
    "00007_Animalia_Chordata_Elasmobranchii_Rajiformes_Rajidae_Raja_clavata": "Animalia",
    "00008_Animalia_Chordata_Mammalia_Carnivora_Canidae_Canis_latrans": "Mammals",
    "00009_Animalia_Chordata_Reptilia_Squamata_Lacertidae_Lacerta_agilis": "Reptiles",
    "00010_Animalia_Mollusca_Gastropoda_Stylommatophora_Helicidae_Helix_pomatia": "Mollusks",
    "00011_Fungi_Basidiomycota_Agaricomycetes_Agaricales_Agaricaceae_Agaricus_augustus": "Fungi",
    "00012_Plantae_Tracheophyta_Magnoliopsida_Fagales_Fagaceae_Quercus_robur": "Plants",
}


@pytest.fixture
def tree(tmp_path, write, monkeypatch):
    """Both training sets and the validation set, with few images."""
    counts = {"2021_train": 3, "2021_train_mini": 2, "2021_valid": 1}
    for version, count in counts.items():
        write(tmp_path, *(f"{version}/{c}/{i}.jpg" for c in CATEGORIES for i in range(count)))
        monkeypatch.setitem(inaturalist.COUNTS, version, count * len(CATEGORIES))
    return tmp_path


@pytest.fixture
def unreachable(server, monkeypatch):
    for version in inaturalist.COUNTS:
        monkeypatch.setitem(published.DATASET_URLS, version, f"{server[1]}/{version}.tar.gz")


def test_supercategories():
    assert {name: supercategory(name) for name in CATEGORIES} == CATEGORIES
    assert set(CATEGORIES.values()) == set(CLASSES)
    assert len(CLASSES) == 11


@pytest.mark.parametrize(("name", "count"), [("inat21", 3), ("inat21-mini", 2)])
def test_unpacked(tree, unreachable, open_data, name, count):
    data = open_data(name, root=str(tree))
    assert (data.name, data.classes) == (name, CLASSES)
    assert (len(data.train), len(data.probe_test)) == (13 * count, 13)
    assert data.probe_train is data.train
    wanted = [CLASSES.index(kind) for kind in CATEGORIES.values()]
    assert data.probe_test.labels.tolist() == wanted
    assert data.train.labels.tolist() == [label for label in wanted for _ in range(count)]
    assert data.normalization.mean == (0.485, 0.456, 0.406)


def test_downloaded(tree, server, open_data, monkeypatch, tmp_path_factory):
    folder, address = server
    for version, inside in {"2021_train_mini": "train_mini", "2021_valid": "val"}.items():
        archive = folder / f"{inside}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tree / version, inside)
        monkeypatch.setitem(published.DATASET_URLS, version, f"{address}/{archive.name}")
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        monkeypatch.setitem(published.DATASET_MD5, version, md5)
    root = tmp_path_factory.mktemp("new") / "data"
    assert len(open_data("inat21-mini", root=str(root)).train) == 26
    assert (root / "2021_train_mini.tgz").is_file()


def test_neither_there_nor_to_be_had(tmp_path, unreachable, open_data):
    with pytest.raises(UserError) as error:
        open_data("inat21", root=str(tmp_path / "data"))
    assert "2021_train.tar.gz there as 2021_train.tgz, or name another folder" in str(error.value)
    (tmp_path / "data" / "2021_train.tgz").write_bytes(b"half")
    with pytest.raises(UserError, match=r"checksum of 2021_train.tgz is wrong\) and no download"):
        open_data("inat21", root=str(tmp_path / "data"))


def test_half_unpacked(tree, unreachable, open_data):
    category = tree / "2021_valid" / next(iter(CATEGORIES))
    (category / "0.jpg").unlink()
    with pytest.raises(UserError, match=r"no whole copy in .*2021_valid holds 12 of 13 images"):
        open_data("inat21-mini", root=str(tree))
    category.rmdir()
    with pytest.raises(UserError, match=r"no whole copy .*Unexpected category id 00001, expecting"):
        open_data("inat21-mini", root=str(tree))

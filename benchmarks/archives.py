"""Images/s from each kind of data into the store, against the same images as files.

python benchmarks/archives.py FOLDER [--size 96] [--rounds 3]: a folder of class folders
"""

import argparse
import io
import json
import tarfile
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from seamask.data import DataConfig, load


def forms(folder, out):
    """Write the same images in every form; return {form: what is given as --data}."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    names = [p.relative_to(folder).as_posix() for p in paths]
    with zipfile.ZipFile(out / "x.zip", "w", strict_timestamps=False) as file:
        for path, name in zip(paths, names, strict=True):
            file.write(path, name)
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        with tarfile.open(out / f"x{suffix}", mode) as tar:
            for path, name in zip(paths, names, strict=True):
                tar.add(path, name)
    shard = None
    for i, (path, name) in enumerate(zip(paths, names, strict=True)):
        if i % 1000 == 0:
            shard and shard.close()
            shard = tarfile.open(out / f"shard-{i // 1000:03d}.tar", "w")  # noqa: SIM115
        for suffix, data in (("jpg", path.read_bytes()), ("cls", Path(name).parent.name.encode())):
            info = tarfile.TarInfo(f"{i:08d}.{suffix}")
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    shard.close()
    classes = sorted({Path(name).parent.name for name in names})
    kinds = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": classes}}
    table = pa.table(
        {
            "image": [{"bytes": p.read_bytes(), "path": p.name} for p in paths],
            "label": [classes.index(Path(name).parent.name) for name in names],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})
    parquet.write_table(table, out / "x.parquet", row_group_size=100)
    with pa.OSFile(str(out / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as w:
        w.write_table(table, max_chunksize=1000)
    (out / "x.csv").write_text("path,label\n" + "".join(
        f'"{p}","{Path(name).parent.name}"\n' for p, name in zip(paths, names, strict=True)
    ))  # fmt: skip
    last = (len(paths) - 1) // 1000
    given = {"files": folder, "list (.csv)": out / "x.csv", ".zip": out / "x.zip"}
    given |= {".tar": out / "x.tar", ".tar.gz": out / "x.tar.gz"}
    given |= {"shards (.tar, .cls)": f"{out}/shard-{{000..{last:03d}}}.tar"}
    return given | {".parquet": out / "x.parquet", "saved (.arrow)": out / "x.arrow"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        given = forms(o.folder.resolve(), Path(place))
        first, again = ({form: [] for form in given} for _ in range(2))
        for round_ in range(o.rounds):
            for form, data in given.items():
                config = DataConfig(source=str(data), holdout=0.0)
                config = replace(config, cache=f"{place}/{round_}-{list(given).index(form)}")
                for times in (first, again):
                    start = time.perf_counter()
                    found = load(config, o.size, progress=False)
                    times[form].append(time.perf_counter() - start)
        n = len(found.train)
        print(
            "| data | images/s into the store | of files | to open again, ms |\n|---|---|---|---|"
        )
        for form in given:
            a, b = min(first[form]), min(again[form])
            share = min(first["files"]) / a
            print(f"| {form} | {n / a:,.0f} | {share:.2f} | {1000 * b:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""All benchmarks one after another: the whole table as Markdown.

python benchmarks/run.py --out docs/table.md [-- OPTIONS FOR EACH]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import HEAD, Row

FILES = (
    "step_over_floor", "step_over_adios", "best_over_adios", "memory_of_masks", "views_over_pil",
    "views_over_kornia", "data_wait", "end_to_end_lightly", "store_build", "startup",
    "linear_probe", "token_dropping", "small_maps", "step_over_simclr",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Run all benchmarks; print one Markdown table.")
    parser.add_argument("--only", nargs="+", choices=FILES, default=FILES)
    parser.add_argument("--out", type=Path, help="write the table there too, as it grows")
    parser.add_argument("options", nargs="*", help="after --: options that all benchmarks take")
    asked = parser.parse_args()
    lines = []
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json"
            script = Path(__file__).with_name(f"{name}.py")
            start = time.monotonic()
            done = subprocess.run([sys.executable, script, "--json", file, *asked.options])
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
            if done.returncode:
                row = Row(f"`{name}`", "", f"failed with code {done.returncode}", None)
                lines.append(row.markdown())
                continue
            found = json.loads(file.read_text())
        if not lines:
            lines += [found["machine"], "", HEAD]
        lines += [Row(**row).markdown() for row in found["rows"]]
        if asked.out:
            asked.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""Peak memory with eight masks over that with one, at equal batch."""

from harness import Row, benchmark, recipe
from seamask.speed.memory import peak_bytes


def measure(o):
    rows = []
    for size in o.size:
        for name, changed, goal in (("looped", {}, 1.3), ("stacked", {"stack": True}, None)):
            peaks = [peak_bytes(recipe(o, size, n_masks=n, **changed), o.device) for n in (8, 1)]
            found = peaks[0] / peaks[1]
            shown = " over ".join(f"{p / 2**20:,.0f} MiB" for p in peaks)
            rows.append(Row(
                f"peak memory, N = 8 over N = 1, {name}, {size} px, batch {o.batch}",
                "≤ 1.3" if goal else "none: traded for speed", f"{found:.2f} ({shown})",
                found <= goal if goal else None,
            ))  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure)

"""Memory of a step of each recipe at its own batch: foretold and, on a GPU, measured."""

import argparse

import torch

from harness import machine
from seamask.base.devices import torch_device
from seamask.base.settings import override
from seamask.recipes import RECIPES, recipe_config
from seamask.speed.memory import peak_bytes
from seamask.training.memory import GIB, follow


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="*", default=sorted(RECIPES))
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: the recipe's")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    asked = parser.parse_args()
    device = torch_device(asked.device, 0)
    print(machine(device))
    print("| recipe | batch | side | foretold, GiB | measured, GiB |\n|---|---|---|---|---|")
    for name in asked.recipes:
        config = recipe_config(name)
        if asked.precision:
            config = override(config, {"precision": asked.precision})
        foretold = follow(config).of(config.micro_batch) / GIB
        measured = f"{peak_bytes(config, device) / GIB:.2f}" if device.type == "cuda" else "–"
        cells = (f"`{name}`", config.batch_size, config.image_size, f"{foretold:.2f}", measured)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()

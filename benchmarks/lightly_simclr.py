"""SimCLR as lightly's documentation writes it (docs.lightly.ai/self-supervised-learning, SimCLR).

Its projector, batch, size and number of epochs are what is compared; nothing else is changed, but
for images of another size than its 32 pixels, the workers that this machine has, and autocast where
bf16 is asked for.
"""

import argparse

import torch
import torchvision
from lightly import loss, transforms
from lightly.data import LightlyDataset
from lightly.models.modules import heads
from torch import nn


class SimCLR(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projection_head = heads.SimCLRProjectionHead(512, 2048, 128)

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    o = parser.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = torchvision.models.resnet18()
    backbone.fc = nn.Identity()
    model = SimCLR(backbone).to(device)
    dataset = LightlyDataset(o.data, transform=transforms.SimCLRTransform(input_size=o.size))
    dataloader = torch.utils.data.DataLoader(
        dataset, batch_size=o.batch, shuffle=True, drop_last=True, num_workers=o.workers
    )
    criterion = loss.NTXentLoss(temperature=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-6)
    for epoch in range(o.epochs):
        for batch in dataloader:
            view0, view1 = batch[0]
            with torch.autocast(device, torch.bfloat16, enabled=o.precision == "bf16"):
                z0, z1 = model(view0.to(device)), model(view1.to(device))
            found = criterion(z0.float(), z1.float())
            found.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch + 1}: {found.item():.3f}", flush=True)


if __name__ == "__main__":
    main()

"""The networks of networks.h in PyTorch, and BDLoss as an expression: what wbsr is compared with.

Parameters are held at full width under their published names; a subnet of width w and depth d takes the first w channels
and the first d blocks, as the supernet of method.md does.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """convs: (name, out, in, kernel), in the order of the graph."""

    def __init__(self, convs):
        super().__init__()
        for name, out, inside, kernel in convs:
            self.register_parameter(
                self.key(name, "weight"),
                nn.Parameter(torch.randn(out, inside, kernel, kernel) * math.sqrt(0.2 / (inside * kernel * kernel))),
            )
            self.register_parameter(self.key(name, "bias"), nn.Parameter(torch.zeros(out)))

    @staticmethod
    def key(name, kind):
        return f"{name}.{kind}".replace(".", "_")

    def conv(self, name, x, out=None):
        weight = getattr(self, self.key(name, "weight"))
        bias = getattr(self, self.key(name, "bias"))
        if x.shape[1] < weight.shape[1]:
            weight = weight[:, : x.shape[1]]
        if out is not None and out < weight.shape[0]:
            weight, bias = weight[:out], bias[:out]
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)

    def load(self, tensors):
        """tensors: published name -> tensor."""
        own = dict(self.named_parameters())
        names = {name.replace(".", "_"): name for name in tensors}
        if set(own) != set(names):
            raise ValueError(f"the weights are of another network: {sorted(set(own) ^ set(names))[:4]}")
        with torch.no_grad():
            for key, parameter in own.items():
                parameter.copy_(tensors[names[key]])


class SRResNet(Net):
    def __init__(self, width, depth, scale=4):
        self.factors = [2, 2] if scale == 4 else [scale]
        convs = [("conv_first", width, 3, 3)]
        for i in range(depth):
            convs += [(f"recon_trunk.{i}.conv1", width, width, 3), (f"recon_trunk.{i}.conv2", width, width, 3)]
        convs += [(f"upconv{i + 1}", width * r * r, width, 3) for i, r in enumerate(self.factors)]
        super().__init__(convs + [("HRconv", width, width, 3), ("conv_last", 3, width, 3)])
        self.scale, self.width, self.depth = scale, width, depth

    def forward(self, image, width=None, depth=None):
        width = width or self.width
        x = F.leaky_relu(self.conv("conv_first", image, width), 0.1)
        for i in range(depth or self.depth):
            x = x + self.conv(f"recon_trunk.{i}.conv2", F.relu(self.conv(f"recon_trunk.{i}.conv1", x, width)), width)
        for i, r in enumerate(self.factors):
            x = F.leaky_relu(F.pixel_shuffle(self.conv(f"upconv{i + 1}", x, width * r * r), r), 0.1)
        x = self.conv("conv_last", F.leaky_relu(self.conv("HRconv", x, width), 0.1))
        return x + F.interpolate(image, scale_factor=self.scale, mode="bilinear", align_corners=False)


class RCAN(Net):
    def __init__(self, width, depth, groups=10, scale=4):
        self.factors = [2, 2] if scale == 4 else [scale]
        squeezed = width // 16
        convs = [("sub_mean", 3, 3, 1), ("head.0", width, 3, 3)]
        for g in range(groups):
            for b in range(depth):
                name = f"body.{g}.body.{b}.body"
                convs += [(f"{name}.0", width, width, 3), (f"{name}.2", width, width, 3)]
                convs += [(f"{name}.3.conv_du.0", squeezed, width, 1), (f"{name}.3.conv_du.2", width, squeezed, 1)]
            convs += [(f"body.{g}.body.{depth}", width, width, 3)]
        convs += [(f"body.{groups}", width, width, 3)]
        convs += [(f"tail.0.{2 * i}", width * r * r, width, 3) for i, r in enumerate(self.factors)]
        super().__init__(convs + [("tail.1", 3, width, 3), ("add_mean", 3, 3, 1)])
        self.width, self.depth, self.groups = width, depth, groups

    def block(self, name, x):
        y = self.conv(f"{name}.2", F.relu(self.conv(f"{name}.0", x)))
        squeezed = F.relu(self.conv(f"{name}.3.conv_du.0", y.mean((2, 3), keepdim=True)))
        return y * torch.sigmoid(self.conv(f"{name}.3.conv_du.2", squeezed)) + x

    def forward(self, image):
        head = self.conv("head.0", self.conv("sub_mean", image))
        x = head
        for g in range(self.groups):
            y = x
            for b in range(self.depth):
                y = self.block(f"body.{g}.body.{b}.body", y)
            x = self.conv(f"body.{g}.body.{self.depth}", y) + x
        x = self.conv(f"body.{self.groups}", x) + head
        for i, r in enumerate(self.factors):
            x = F.pixel_shuffle(self.conv(f"tail.0.{2 * i}", x), r)
        return self.conv("add_mean", self.conv("tail.1", x))


class BDLoss(nn.Module):
    """method.md section 4 for D = 1, fidelity l1, as the formulas stand (native/core/math/bdloss.h)."""

    def __init__(self, sigma, fidelityScale, weights, means, covariances):
        super().__init__()
        parts = [(w, m, c + sigma * sigma) for w, m, c in zip(weights, means, covariances) if w > 0]
        self.register_buffer("factor", torch.tensor([math.log(w) - 0.5 * math.log(2 * math.pi * v) for w, _, v in parts]))
        self.register_buffer("mean", torch.tensor([m for _, m, _ in parts]))
        self.register_buffer("halfInverse", torch.tensor([0.5 / v for _, _, v in parts]))
        # A buffer, too: a number would be compiled in, and what was compiled beforehand for another loss would not fit.
        self.register_buffer("scale", torch.tensor(2 * sigma * sigma / fidelityScale))

    def forward(self, prediction, target):
        z = prediction.clamp(0, 1).unsqueeze(-1) - self.mean
        balance = torch.logsumexp(self.factor - self.halfInverse * z * z, -1)
        return ((prediction - target).abs() + self.scale * balance).mean()

"""PyTorch on the CPU as a contestant: one JSON line in, one JSON line out (bench/contest.mjs).

Argument: number of threads. The weights come from a safetensors file, inputs and outputs are raw float32 files. Memory
format (contiguous or channels-last) is whichever is faster here, tried once at load: PyTorch gets its better one.
"""
import json
import struct
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch
import torch.nn.functional as F
from torch import nn


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        start, end = entry["data_offsets"]
        out[name] = torch.frombuffer(data, dtype=torch.float32, count=(end - start) // 4, offset=start).reshape(entry["shape"]).clone()
    return out


def read_floats(path, shape):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(shape).clone()


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class SRResNet(nn.Module):
    """The published MSRResNet, names as in lib/networks/srresnet.ts."""

    def __init__(self, scale, width, depth):
        super().__init__()
        self.scale = scale
        self.factors = [2, 2] if scale == 4 else [scale]
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.recon_trunk = nn.Sequential(*[Block(width) for _ in range(depth)])
        for i, factor in enumerate(self.factors):
            setattr(self, f"upconv{i + 1}", nn.Conv2d(width, width * factor * factor, 3, padding=1))
        self.HRconv = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image):
        x = F.leaky_relu(self.conv_first(image), 0.1, inplace=True)
        x = self.recon_trunk(x)
        for i, factor in enumerate(self.factors):
            x = F.leaky_relu(F.pixel_shuffle(getattr(self, f"upconv{i + 1}")(x), factor), 0.1, inplace=True)
        x = self.conv_last(F.leaky_relu(self.HRconv(x), 0.1, inplace=True))
        return x + F.interpolate(image, scale_factor=self.scale, mode="bilinear", align_corners=False)


class Contestant:
    def load(self, request):
        self.model = SRResNet(request["scale"], request["width"], request["depth"])
        self.model.load_state_dict(read_safetensors(request["weights"]))
        self.lr = read_floats(request["input"], request["shape"])
        self.result = None
        if "target" in request:
            n, c, h, w = request["shape"]
            self.hr = read_floats(request["target"], [n, c, h * request["scale"], w * request["scale"]])
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=request["learningRate"], betas=(0.9, 0.999), eps=1e-8, fused=True)
        run = self.infer if "target" not in request else self.gradients
        seconds = {}
        for name, memory_format in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
            self.place(memory_format)
            run({})
            seconds[name] = min(run({})["seconds"] for _ in range(2))
        best = min(seconds, key=seconds.get)
        self.place(torch.channels_last if best == "channels_last" else torch.contiguous_format)
        return {"format": best, "version": torch.__version__, "seconds": seconds}

    def place(self, memory_format):
        self.model = self.model.to(memory_format=memory_format)
        self.lr = self.lr.contiguous(memory_format=memory_format)

    def infer(self, _):
        start = time.perf_counter()
        with torch.inference_mode():
            self.result = self.model(self.lr)
        return {"seconds": time.perf_counter() - start}

    def gradients(self, _):
        start = time.perf_counter()
        self.model.zero_grad(set_to_none=True)
        loss = F.l1_loss(self.model(self.lr), self.hr)
        loss.backward()
        return {"seconds": time.perf_counter() - start, "loss": loss.item()}

    def train(self, _):
        start = time.perf_counter()
        answer = self.gradients({})
        self.optimizer.step()
        return {"seconds": time.perf_counter() - start, "loss": answer["loss"]}

    def save(self, request):
        values = self.result.contiguous()
        with open(request["output"], "wb") as file:
            file.write(bytes(values.untyped_storage())[: values.numel() * 4])
        return {"shape": list(values.shape)}


def serve(contestant):
    """Answers requests until the input ends."""
    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = getattr(contestant, request["do"])(request)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(Contestant())

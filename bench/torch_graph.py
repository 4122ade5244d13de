"""PyTorch on the CPU as a contestant that runs a network's graph as wbsr describes it (lib/networks/network.ts), at its
largest width and depth: one JSON line in, one JSON line out (bench/contest.mjs).

Argument: number of threads. Activations work in place where their input has no other reader, as published modules do.
Memory format (contiguous or channels-last) is whichever is faster here, tried once at load.
"""
import json
import time
import warnings

warnings.filterwarnings("ignore")
import torch
import torch.nn.functional as F

from peers_torch import Contestant, read_floats, read_safetensors, serve


def resize(x, size, mode):
    align = None if mode == "nearest" else False
    return F.interpolate(x, size=size, mode=mode, align_corners=align)


class GraphContestant(Contestant):
    def load(self, request):
        with open(request["graph"]) as file:
            graph = json.load(file)
        self.nodes, self.output = graph["nodes"], graph["output"]
        self.weights = read_safetensors(request["weights"])
        self.readers = [0] * len(self.nodes)
        self.last = list(range(len(self.nodes)))
        for i, node in enumerate(self.nodes):
            # At the largest depth the value of a stack is its last input.
            inputs = node["inputs"][-1:] if node["op"] == "stack" else node["inputs"]
            for k in inputs:
                self.readers[k] += 1
                self.last[k] = i
        self.lr = read_floats(request["input"], request["shape"])
        seconds = {}
        for name, memory_format in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
            self.place(memory_format)
            self.infer({})
            seconds[name] = min(self.infer({})["seconds"] for _ in range(2))
        best = min(seconds, key=seconds.get)
        self.place(torch.channels_last if best == "channels_last" else torch.contiguous_format)
        return {"format": best, "version": torch.__version__, "seconds": seconds}

    def place(self, memory_format):
        self.lr = self.lr.contiguous(memory_format=memory_format)
        self.weights = {k: v.contiguous(memory_format=memory_format) if v.dim() == 4 else v for k, v in self.weights.items()}

    def run(self, node, x, alone):
        op, weights, name = node["op"], self.weights, node.get("name")
        if op == "conv":
            weight, bias = weights[name + ".weight"], weights.get(name + ".bias")
            groups = x[0].shape[1] if node.get("depthwise") else node.get("groups", 1)
            padding = node.get("padding", node["kernel"] // 2)
            return F.conv2d(x[0], weight, bias, node.get("stride", 1), padding, groups=groups)
        if op == "activation":
            kind = node["activation"]
            if kind == "relu":
                return F.relu(x[0], inplace=alone)
            if kind == "leakyRelu":
                return F.leaky_relu(x[0], node["slope"], inplace=alone)
            if kind == "silu":
                return F.silu(x[0], inplace=alone)
            return {"sigmoid": torch.sigmoid, "gelu": F.gelu, "tanh": torch.tanh}[kind](x[0])
        if op == "prelu":
            return F.prelu(x[0], weights[name + ".weight"])
        if op == "add":
            return x[0] + x[1]
        if op == "multiply":
            return x[0] * x[1]
        if op == "affine":
            scale, offset = (torch.tensor(node.get(k, [d])).view(1, -1, 1, 1) for k, d in (("scale", 1.0), ("offset", 0.0)))
            return x[0] * scale + offset
        if op == "concat":
            return torch.cat(x, 1)
        if op == "slice":
            start, count = node["from"]["fixed"], node["channels"]["fixed"]
            return x[0][:, start : start + count]
        if op == "pixelShuffle":
            return F.pixel_shuffle(x[0], node["factor"])
        if op == "pool":
            pool = F.max_pool2d if node["kind"] == "max" else F.avg_pool2d
            return pool(x[0], node["kernel"], node.get("stride", node["kernel"]), node.get("padding", 0))
        if op == "resizeLike":
            return resize(x[0], x[1].shape[2:], node["mode"])
        if op == "upsample":
            mode = node.get("mode", "bicubic" if node["cubic"] else "bilinear")
            return resize(x[0], [n * node["factor"] // node.get("divisor", 1) for n in x[0].shape[2:]], mode)
        raise ValueError("no code for " + op)

    def infer(self, _):
        start = time.perf_counter()
        with torch.inference_mode():
            values = [None] * len(self.nodes)
            for i, node in enumerate(self.nodes):
                inputs = node["inputs"]
                if node["op"] == "input":
                    values[i] = self.lr
                elif node["op"] == "stack":
                    values[i] = values[inputs[-1]]
                else:
                    alone = self.readers[inputs[0]] == 1 and self.nodes[inputs[0]]["op"] not in ("input", "stack")
                    values[i] = self.run(node, [values[k] for k in inputs], alone)
                for k in inputs:
                    if self.last[k] == i and k != self.output:
                        values[k] = None
            self.result = values[self.output]
        return {"seconds": time.perf_counter() - start}


serve(GraphContestant())

"""PyTorch as a contestant of the GPU benchmarks (contest.py): one line of key=value words in, one line of JSON out.

channels_last, bf16 (training: autocast to bf16, float32 parameters, fused Adam), eager and torch.compile(mode=
"max-autotune"), which replays CUDA graphs. cuDNN's benchmark mode is on. TF32 is off: nothing that is timed multiplies
float32 matrices, and the float32 reference must not.

  do=matmul size=8192                                                 bf16 rate of the card
  do=load network=srresnet|rcan width=64 depth=16 folder=DIR          weights from DIR (without folder: random)
  do=prepare name=tiles mode=eager|compile batch= height= width= folder=DIR
  do=infer name=tiles mode= repeats= inner=
  do=save name=tiles mode=        for the process that compares
  do=compare name=tiles others=   relative errors of wbsr's and PyTorch's bf16 outputs against float32
  do=loadTraining widths= depths= folder=DIR loss=FILE    do=batch batch= patch= folder=DIR    do=step steps= subnets= mode=
  do=loss mode= batch= patch= folder=DIR loss=FILE        do=compareLoss folder=DIR
  do=once name=

`peer_torch.py warm PART...` compiles what a part needs and ends: the compiler's cache serves the contest then.
"""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch

from peer_networks import BDLoss, RCAN, SRResNet

DEVICE = os.environ.get("WBSR_PEER_DEVICE", "cuda")
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False


def synchronise():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def device_seconds(work, repeats, inner):
    """Each figure is the mean of `inner` runs in a row, by events; one run of them is not counted."""
    seconds = []
    for i in range(-1, repeats):
        if DEVICE == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(inner):
                work()
            end.record()
            end.synchronize()
            each = start.elapsed_time(end) * 1e-3 / inner
        else:
            begin = time.perf_counter()
            for _ in range(inner):
                work()
            each = (time.perf_counter() - begin) / inner
        if i >= 0:
            seconds.append(each)
    return seconds


def read_floats(path, shape):
    with open(path, "rb") as file:
        values = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
    return values.reshape(shape).to(DEVICE)


def read_weights(folder):
    flat = read_floats(os.path.join(folder, "weights.f32"), [-1]).cpu()
    tensors = {}
    with open(os.path.join(folder, "weights.txt")) as index:
        for line in index:
            name, shape, offset, count = line.split()
            tensors[name] = flat[int(offset) : int(offset) + int(count)].reshape([int(n) for n in shape.split(",")])
    return tensors


def channels_last(module):
    return module.to(DEVICE).to(memory_format=torch.channels_last)


def compiled(function):
    return torch.compile(function, mode="max-autotune", dynamic=False, fullgraph=True)


def relative_error(actual, expected):
    return (torch.linalg.vector_norm(actual.double() - expected.double()) / torch.linalg.vector_norm(expected.double())).item()


class Inference:
    def __init__(self):
        self.net, self.shapes, self.runs = None, {}, {}

    def load(self, r):
        width, depth = int(r["width"]), int(r["depth"])
        self.shapes, self.runs = {}, {}
        self.net = SRResNet(width, depth) if r["network"] == "srresnet" else RCAN(width, depth, int(r.get("groups", 10)))
        if "folder" in r:
            self.net.load(read_weights(r["folder"]))
        self.net = channels_last(self.net.eval())
        self.exact = None
        self.net.requires_grad_(False)
        self.half = (
            channels_last(SRResNet(width, depth) if r["network"] == "srresnet" else RCAN(width, depth, int(r.get("groups", 10))))
            .eval()
            .requires_grad_(False)
        )
        self.half.load_state_dict(self.net.state_dict())
        self.half = self.half.to(torch.bfloat16)
        return {"parameters": sum(p.numel() for p in self.net.parameters())}

    def prepare(self, r):
        shape = [int(r["batch"]), 3, int(r["height"]), int(r["width"])]
        if r["name"] not in self.shapes:
            image = (
                read_floats(os.path.join(r["folder"], r["name"] + ".in.f32"), shape)
                if "folder" in r
                else torch.rand(shape, device=DEVICE)
            )
            self.shapes[r["name"]] = (
                image,
                image.to(torch.bfloat16).contiguous(memory_format=torch.channels_last),
                r.get("folder"),
            )
        run = compiled(self.half) if r["mode"] == "compile" else self.half
        self.runs[r["name"], r["mode"]] = run
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(3):
                run(self.shapes[r["name"]][1])
        synchronise()
        return {"seconds": time.perf_counter() - start}

    def infer(self, r):
        run, image = self.runs[r["name"], r["mode"]], self.shapes[r["name"]][1]
        with torch.inference_mode():
            return {"seconds": device_seconds(lambda: run(image), int(r["repeats"]), int(r["inner"]))}

    def once(self, r):
        with torch.inference_mode():
            self.half(self.shapes[r["name"]][1])
        synchronise()
        return {}

    def save(self, r):
        """The output for the process that compares."""
        image, folder = self.shapes[r["name"]][1:]
        with torch.inference_mode():
            torch.save(self.runs[r["name"], r["mode"]](image).cpu(), os.path.join(folder, f"{r['name']}.{r['mode']}.pt"))
        return {}

    def compare(self, r):
        image, half, folder = self.shapes[r["name"]]
        benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        with torch.inference_mode():
            expected = torch.cat(
                [
                    self.net(part.contiguous(memory_format=torch.channels_last))
                    for part in image.split(max(1, 2**22 // (image.shape[2] * image.shape[3])))
                ]
            ).contiguous()
            errors = {mode: relative_error(run(half), expected) for (name, mode), run in self.runs.items() if name == r["name"]}
            for mode in filter(None, r.get("others", "").split(",")):
                errors[mode] = relative_error(torch.load(os.path.join(folder, f"{r['name']}.{mode}.pt")).to(DEVICE), expected)
            errors["wbsr"] = relative_error(read_floats(os.path.join(folder, r["name"] + ".wbsr.f32"), expected.shape), expected)
        torch.backends.cudnn.benchmark = benchmark
        return {"errors": errors}


class Training:
    def __init__(self):
        self.net = self.weights = None

    def loadTraining(self, r):
        widths, depths = [[int(n) for n in r[key].split(",")] for key in ("widths", "depths")]
        self.net = SRResNet(widths[-1], depths[-1])
        if "folder" in r:
            self.net.load(read_weights(r["folder"]))
        self.net = channels_last(self.net)
        self.weights = {k: v.clone() for k, v in self.net.state_dict().items()}
        with open(r["loss"]) as file:
            self.criterion = BDLoss(**json.load(file)).to(DEVICE)
        self.steps = {}
        return {}

    def batch(self, r):
        batch, patch = int(r["batch"]), int(r["patch"])
        small, large = [batch, 3, patch // 4, patch // 4], [batch, 3, patch, patch]
        read = lambda name, shape: (
            read_floats(os.path.join(r["folder"], name), shape) if "folder" in r else torch.rand(shape, device=DEVICE)
        ).contiguous(memory_format=torch.channels_last)
        self.lr, self.hr = read("lr.f32", small), read("hr.f32", large)
        self.reset()
        return {}

    def reset(self):
        self.net.load_state_dict(self.weights)
        self.net.zero_grad(set_to_none=True)
        self.ema = [p.detach().clone() for p in self.net.parameters()]
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=2e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)

    def losses_of(self, subnets):
        net, loss = self.net, self.criterion

        # The three subnets in one function: their gradients are summed inside the compiled backward pass, which is the
        # faster way for PyTorch (no accumulation kernels per parameter).
        def losses(lr, hr):
            out = []
            for width, depth in subnets:
                with torch.autocast(DEVICE, torch.bfloat16):
                    prediction = net(lr, width, depth)
                out.append(loss(prediction.float(), hr))
            return torch.stack(out)

        return losses

    def step(self, r):
        """subnets: width x depth, e.g. 64x16,32x4,48x8."""
        subnets = [tuple(int(n) for n in pair.split("x")) for pair in r["subnets"].split(",")]
        key = (r["mode"], tuple(subnets), tuple(self.lr.shape))
        if key not in self.steps:
            function = self.losses_of(subnets)
            self.steps[key] = compiled(function) if r["mode"] == "compile" else function
        losses_of = self.steps[key]
        parameters = list(self.net.parameters())
        losses = []
        if r.get("reset"):
            self.reset()
        synchronise()
        start = time.perf_counter()
        for _ in range(int(r["steps"])):
            if r["mode"] == "compile":
                torch.compiler.cudagraph_mark_step_begin()
            self.optimizer.zero_grad(set_to_none=True)
            each = losses_of(self.lr, self.hr)
            each.sum().backward()
            losses.append(each.detach().mean())
            self.optimizer.step()
            torch._foreach_lerp_(self.ema, [p.detach() for p in parameters], 1e-3)
        synchronise()
        seconds = (time.perf_counter() - start) / int(r["steps"])
        return {"seconds": seconds, "losses": torch.stack(losses).tolist()}


class Operators:
    def __init__(self):
        self.losses = {}

    def matmul(self, r):
        n = int(r["size"])
        a, b = (torch.randn(n, n, device=DEVICE).to(torch.bfloat16) for _ in range(2))
        out = torch.empty(n, n, device=DEVICE, dtype=torch.bfloat16)
        return {
            "seconds": device_seconds(lambda: torch.mm(a, b, out=out), int(r["repeats"]), int(r["inner"])),
            "flops": 2.0 * n**3,
        }

    def loss(self, r):
        shape = [int(r["batch"]), int(r["patch"]), int(r["patch"]), 3]
        key = (r["mode"], *shape)
        if key not in self.losses:
            with open(r["loss"]) as file:
                module = BDLoss(**json.load(file)).to(DEVICE)
            read = lambda name: (
                read_floats(os.path.join(r["folder"], name), shape) if "folder" in r else torch.rand(shape, device=DEVICE)
            )
            self.losses[key] = (
                compiled(module) if r["mode"] == "compile" else module,
                read("prediction.f32"),
                read("target.f32"),
            )
        module, prediction, target = self.losses[key]
        prediction.requires_grad_(True)

        def run():
            if r["mode"] == "compile":
                torch.compiler.cudagraph_mark_step_begin()
            prediction.grad = None
            value = module(prediction, target)
            value.backward()
            return value.detach()

        for _ in range(3):
            run()
        seconds = device_seconds(run, int(r["repeats"]), int(r["inner"]))
        answer = {"seconds": seconds, "value": run().item()}
        path = os.path.join(r["folder"], "gradient.wbsr.f32") if "folder" in r else ""
        if os.path.exists(path):
            answer["gradientError"] = relative_error(read_floats(path, shape), prediction.grad)
        return answer


class Contestant(Inference, Training, Operators):
    def __init__(self):
        for part in (Inference, Training, Operators):
            part.__init__(self)

    def hello(self, _):
        facts = {
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "cuda": torch.version.cuda,
            "device": DEVICE,
        }
        if DEVICE == "cuda":
            facts["name"] = torch.cuda.get_device_name()
        return facts


TYPICAL_LOSS = {
    "sigma": 0.02,
    "fidelityScale": 0.1,
    "weights": [0.125] * 8,
    "means": [0.1 * i + 0.1 for i in range(8)],
    "covariances": [0.004] * 8,
}


def warm(parts):
    """Everything that the contest will ask in mode compile, once, each part in the order of the contest."""
    plan = json.loads(os.environ["WBSR_WARM_PLAN"])
    contestant = Contestant()
    loss = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"wbsr-loss-{os.getpid()}.json")
    with open(loss, "w") as file:
        json.dump(TYPICAL_LOSS, file)
    for part in parts:
        for request in plan.get(part, []):
            start = time.perf_counter()
            try:
                getattr(contestant, request["do"])({**request, "loss": loss})
                print(f"warm: {part} {request} {time.perf_counter() - start:.1f} s", flush=True)
            except Exception as error:  # the contest itself will say so
                print(f"warm: {part} {request} failed: {error!r}"[:400], flush=True)
    os.remove(loss)


def main():
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"error": "PyTorch sees no CUDA device"}), flush=True)
        return
    if len(sys.argv) > 1 and sys.argv[1] == "warm":
        warm(sys.argv[2:])
        return
    # What libraries print must not get between the answers.
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    contestant = Contestant()
    for line in sys.stdin:
        try:
            request = dict(word.split("=", 1) for word in line.rstrip("\n").split("\t"))
            answer = getattr(contestant, request["do"])(request)
        except Exception as error:
            answer = {"error": repr(error)[:2000]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

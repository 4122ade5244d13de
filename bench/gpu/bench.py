"""The bench stage: each part starts its contestants, lets them take turns and compares what they computed."""

import json
import os
import time
import traceback

from contest import Contestant, Failed, in_turns

ROUNDS = 10  # turns that count; a turn is `inner` runs, and figures are medians over turns


class Sizes:
    """What is measured; tiny: for a run without a GPU, where only the machinery is tried."""

    def __init__(self, tiny):
        self.tiles = dict(batch=2, height=8, width=8) if tiny else dict(batch=64, height=64, width=64)
        self.frame = dict(batch=1, height=10, width=14) if tiny else dict(batch=1, height=1080, width=1920)
        self.srresnet = dict(network="srresnet", width=16, depth=2) if tiny else dict(network="srresnet", width=64, depth=16)
        self.rcan = (
            dict(network="rcan", width=16, depth=1, groups=2) if tiny else dict(network="rcan", width=64, depth=20, groups=10)
        )
        self.family = dict(widths="8,12,16", depths="1,2") if tiny else dict(widths="32,48,64", depths="4,8,16")
        self.patch = 32 if tiny else 128
        self.batches = {16: 2, 64: 3} if tiny else {16: 16, 64: 64}
        self.steps = 2 if tiny else 10
        self.rounds = 2 if tiny else ROUNDS
        self.copy = 1 << 16 if tiny else 1 << 31
        self.matmul = 64 if tiny else 8192
        self.picture = dict(width=96, height=80) if tiny else dict(width=16384, height=12288)
        self.seconds = 0.001 if tiny else 0.06  # of work in a turn

    def inner(self, seconds):
        return max(1, min(200, round(self.seconds / max(seconds, 1e-7))))

    def subnets(self, all_subnets):
        """The sandwich: largest, smallest, the middle one for the random third."""
        return [len(all_subnets) - 1, 0, len(all_subnets) // 2]

    def warm_plan(self):
        """What peer_torch.py compiles beforehand: the same shapes and modes as in the parts below."""
        shapes = [
            dict(do="prepare", name=name, mode="compile", **shape)
            for name, shape in (("tiles", self.tiles), ("frame", self.frame))
        ]
        widths, depths = ([int(n) for n in self.family[key].split(",")] for key in ("widths", "depths"))
        # As Graph orders subnets by cost, the middle one of three by three is the middle width at the middle depth.
        middle = (widths[len(widths) // 2], depths[len(depths) // 2])
        subnets = ",".join(f"{w}x{d}" for w, d in ((widths[-1], depths[-1]), (widths[0], depths[0]), middle))
        training = [dict(do="loadTraining", **self.family)]
        for batch in self.batches.values():
            training += [
                dict(do="batch", batch=batch, patch=self.patch),
                dict(do="step", steps=1, subnets=subnets, mode="compile"),
            ]
        losses = [
            dict(do="loss", mode="compile", batch=batch, patch=self.patch, repeats=1, inner=1) for batch in self.batches.values()
        ]
        return {
            "inference-srresnet-tiles": [dict(do="load", **self.srresnet), shapes[0]],
            "inference-srresnet": [dict(do="load", **self.srresnet), *shapes],
            "training": training,
            "operators": losses,
            "inference-rcan": [dict(do="load", **self.rcan), *shapes],
        }


class Bench:
    """setup: contestant, python (None: why in no_torch), environment, folder for exchanged files, photographs, regions, frame."""

    def __init__(self, setup, log, deadline):
        self.__dict__.update(setup)
        self.log = log
        self.deadline = deadline
        self.sizes = Sizes(setup["tiny"])

    def left(self):
        return self.deadline - time.monotonic()

    def ours(self, part):
        return Contestant("wbsr", [self.contestant, part], self.log, env=self.environment)

    def peers(self, part, result):
        """One PyTorch process for each mode, so that a compilation that takes too long costs the eager figures nothing."""
        if part == "routed":
            return {}
        if not self.python:
            result["peer"] = {"failed": self.no_torch}
            return {}
        command = [self.python, "-u", os.path.join(os.path.dirname(__file__), "peer_torch.py")]
        return {
            mode: Contestant(f"PyTorch {mode}", command, self.log, env=self.peer_environment) for mode in ("eager", "compile")
        }

    def run(self, part):
        """What a part found; a failure is part of it."""
        start = time.monotonic()
        result = {}
        ours = self.ours(part.split("-")[0])
        started = self.peers(part, result)
        try:
            peers = {}
            for mode, peer in started.items():
                try:
                    result["peer"] = peer.ask(120, do="hello")
                    peers[mode] = peer
                except Failed as error:
                    result["peer"] = {"failed": str(error)}
            getattr(self, part.split("-")[0])(part, ours, peers, result)
        except Failed as error:
            result["failed"] = str(error)
        except Exception as error:  # a mistake in a part must not cost the others
            traceback.print_exc(file=self.log)
            result["failed"] = repr(error)
        finally:
            for contestant in (ours, *started.values()):
                contestant.close()
        result["partSeconds"] = time.monotonic() - start
        return result

    def attempt(self, peers, found, ask):
        """What each peer answers; one that fails is left out, with its reason beside the times."""
        answers = {}
        for mode, peer in peers.items():
            try:
                answers[mode] = ask(mode, peer)
            except Failed as error:
                found.setdefault("times", {})[mode] = {"failed": str(error)}
        return answers

    def inference(self, part, ours, peers, result):
        network = self.sizes.srresnet if "srresnet" in part else self.sizes.rcan
        result["network"] = ours.ask(60, do="load", folder=self.folder, **network)
        for peer in peers.values():
            peer.ask(60, do="load", folder=self.folder, **network)
        for name, shape in (("tiles", self.sizes.tiles), ("frame", self.sizes.frame)):
            if part.endswith("-tiles") and name != "tiles":
                continue
            result[name] = found = dict(shape)
            if self.left() < 10:
                found["skipped"] = "no time left"
                continue
            try:
                self.inference_shape(name, shape, ours, peers, found, result)
            except Failed as error:
                found["failed"] = str(error)

    def inference_shape(self, name, shape, ours, peers, found, result):
        request = dict(do="prepare", name=name, folder=self.folder, **shape)
        found["prepared"] = {"wbsr": ours.ask(120, **request)}
        found["prepared"].update(
            self.attempt(peers, found, lambda mode, peer: peer.ask(min(300, self.left() - 5), mode=mode, **request))
        )
        peers = {mode: peer for mode, peer in peers.items() if mode in found["prepared"]}
        inner = found["inner"] = self.sizes.inner(ours.ask(60, do="infer", name=name, repeats=1, inner=1)["seconds"][0])
        again = dict(do="infer", name=name, repeats=1, inner=inner)
        turns = {"wbsr": lambda: ours.ask(60, **again)["seconds"]}
        for mode, peer in peers.items():
            turns[mode] = lambda mode=mode, peer=peer: peer.ask(60, mode=mode, **again)["seconds"]
        found["times"] = {**found.get("times", {}), **in_turns(turns, self.sizes.rounds, self.deadline)}
        flops = result["network"]["flops"] * shape["batch"] * shape["height"] * shape["width"] / 1024
        found["tflops"] = {who: flops / t["seconds"] / 1e12 for who, t in found["times"].items() if "seconds" in t}
        ours.ask(120, do="save", name=name)
        if not peers:
            return
        # One of the peers computes the float32 reference and compares all outputs with it.
        judge, others = next(iter(peers.values())), list(peers)[1:]
        for mode in others:
            peers[mode].ask(120, do="save", name=name, mode=mode)
        found["errors"] = errors = judge.ask(120, do="compare", name=name, others=",".join(others))["errors"]
        # bf16 rounds each layer's values: wbsr may be off from float32 by as much as twice what PyTorch's bf16 is.
        theirs = [error for who, error in errors.items() if who != "wbsr"]
        found["agree"] = errors["wbsr"] <= max(5e-3, 2 * max(theirs))

    def training(self, part, ours, peers, result):
        photographs = dict(photographs=self.photographs) if self.photographs else {}
        # Training has some 19 convolutions a width: as many engines as inference tries would take minutes to compile.
        loaded = ours.ask(120, do="load", folder=self.folder, autotune=2, **self.sizes.family, **photographs)
        loss = os.path.join(self.folder, "loss.json")
        with open(loss, "w") as file:
            json.dump(loaded["loss"], file)
        result["pictures"] = "photographs" if photographs else "synthetic"
        indices = self.sizes.subnets(loaded["subnets"])
        named = ",".join("{}x{}".format(*loaded["subnets"][i]) for i in indices)
        result["subnets"] = named
        for peer in peers.values():
            peer.ask(60, do="loadTraining", folder=self.folder, loss=loss, **self.sizes.family)
        for name, batch in self.sizes.batches.items():
            result[f"batch{name}"] = found = {}
            if self.left() < 10:
                found["skipped"] = "no time left"
                continue
            try:
                self.training_batch(batch, ",".join(map(str, indices)), named, ours, peers, found)
            except Failed as error:
                found["failed"] = str(error)

    def training_batch(self, batch, indices, named, ours, peers, found):
        shape = dict(do="batch", batch=batch, patch=self.sizes.patch, folder=self.folder)
        step = dict(do="step", subnets=named)
        found["times"] = {}
        ours.ask(60, **shape)
        # The first ten steps from the same weights on the same batch; they are the warm-up, too.
        first = {"wbsr": ours.ask(120, do="step", steps=10, subnets=indices)}

        def begin(mode, peer):
            peer.ask(60, **shape)
            return peer.ask(min(300, self.left() - 5), steps=10, mode=mode, reset=1, **step)

        first.update(self.attempt(peers, found, begin))
        found["firstLosses"] = {who: answer["losses"] for who, answer in first.items()}
        found["apart"] = apart = {
            m: max(abs(a - b) / (abs(b) + 1e-3) for a, b in zip(first["wbsr"]["losses"], first[m]["losses"]))
            for m in first
            if m != "wbsr"
        }
        found["agree"] = {m: gap <= 2e-2 for m, gap in apart.items()}
        found["note"] = ", ".join(f"ten losses within {gap:.1e} of {m}'s" for m, gap in apart.items())
        found["memory"] = first["wbsr"]["memory"]
        steps = found["stepsPerTurn"] = self.sizes.steps
        turns = {"wbsr": lambda: [ours.ask(60, do="step", steps=steps, subnets=indices)["seconds"]]}
        for mode in apart:
            turns[mode] = lambda mode=mode: [peers[mode].ask(60, steps=steps, mode=mode, **step)["seconds"]]
        found["times"].update(in_turns(turns, self.sizes.rounds, self.deadline))

    def operators(self, part, ours, peers, result):
        tiny = self.tiny
        tiles, frame = self.sizes.tiles, self.sizes.frame
        body = {"in": 16, "out": 16} if tiny else {"in": 64, "out": 64}
        patches = {"batch": self.sizes.batches[16], "height": self.sizes.patch // 4, "width": self.sizes.patch // 4}
        large = {"batch": 4, "height": 16, "width": 16} if tiny else {"batch": 64, "height": 256, "width": 256}
        requests = {
            "copy": (ours, dict(do="copy", bytes=self.sizes.copy)),
            "router": (ours, dict(do="router", tile=64, **self.sizes.picture)),
            "routerFrame": (ours, dict(do="router", tile=64, width=frame["width"], height=frame["height"])),
            "convTiles": (ours, dict(do="conv", mode="forward", **tiles, **body)),
            "convFrame": (ours, dict(do="conv", mode="forward", **frame, **body)),
            "convData": (ours, dict(do="conv", mode="data", **patches, **body)),
            "convWeights": (ours, dict(do="conv", mode="weights", **patches, **body)),
            "shuffle": (ours, dict(do="shuffle", channels=body["out"], **tiles)),
            "upsample": (ours, dict(do="upsample", **tiles)),
            "gather": (ours, dict(do="gather", **tiles)),
            "blend": (ours, dict(do="blend", **large)),
            "finish": (ours, dict(do="finish", width=large["width"] * 8, height=large["height"] * 8)),
            "matmul": (peers.get("eager"), dict(do="matmul", size=self.sizes.matmul)),
        }
        inner, turns = {}, {}
        for name, (who, request) in requests.items():
            if not who:
                result[name] = {"skipped": result["peer"]["failed"]}
                continue
            try:
                first = who.ask(90, repeats=2, inner=1, **request)
            except Failed as error:
                result[name] = {"failed": str(error)}
                continue
            inner[name] = self.sizes.inner(min(first["seconds"]))
            result[name] = {**first, **request, "inner": inner[name]}
            turns[name] = lambda who=who, request=request, name=name: who.ask(60, repeats=1, inner=inner[name], **request)[
                "seconds"
            ]
        for name, times in in_turns(turns, self.sizes.rounds, self.deadline).items():
            result[name].update(times)
            amount = result[name].get("bytes", result[name].get("flops"))
            if "seconds" in times:
                result[name]["rate"] = amount / times["seconds"]
        for name, batch in self.sizes.batches.items():
            result[f"loss{name}"] = found = {}
            try:
                self.loss(batch, ours, peers, found)
            except Failed as error:
                found["failed"] = str(error)

    def loss(self, batch, ours, peers, found):
        shape = dict(do="loss", batch=batch, patch=self.sizes.patch, folder=self.folder)
        first = ours.ask(60, repeats=2, inner=1, **shape)
        found["value"] = first["value"]
        shape["loss"] = os.path.join(self.folder, "loss.json")
        with open(shape["loss"], "w") as file:
            json.dump(first["loss"], file)
        found["times"] = {}
        answers = self.attempt(
            peers, found, lambda mode, peer: peer.ask(min(200, self.left() - 5), mode=mode, repeats=2, inner=1, **shape)
        )
        inner = self.sizes.inner(min(first["seconds"]))
        turns = {"wbsr": lambda: ours.ask(60, repeats=1, inner=inner, **shape)["seconds"]}
        for mode, answer in answers.items():
            found["gradientError"] = answer["gradientError"]
            found["valueOf" + mode.capitalize()] = answer["value"]
            # float32 sums in another order; the sign of |e| decides where e is a rounding.
            found["agree"] = (
                answer["gradientError"] <= 1e-3
                and abs(answer["value"] - first["value"]) <= 1e-3 * abs(first["value"]) + 1e-6
                and found.get("agree", True)
            )
            often = self.sizes.inner(min(answer["seconds"]))
            turns[mode] = lambda mode=mode, often=often: peers[mode].ask(60, mode=mode, repeats=1, inner=often, **shape)[
                "seconds"
            ]
        found["times"].update(in_turns(turns, self.sizes.rounds, self.deadline))

    def routed(self, part, ours, peers, result):
        if not os.path.exists(self.regions):
            raise Failed(f"there is no {self.regions}: bench/gpu/carry.sh makes it where Node is")
        ours.ask(120, do="load", regions=self.regions, picture=self.frame)
        answers = {}

        def turn(way):
            answers[way] = ours.ask(120, do="run", way=way, repeats=1)
            return answers[way]["seconds"]

        result["times"] = in_turns(
            {way: lambda way=way: turn(way) for way in ("calibrated", "tiled", "whole")}, self.sizes.rounds, self.deadline
        )
        result["answers"] = answers
        if "calibrated" in answers and "whole" in answers:
            share = answers["calibrated"]["flops"] / answers["whole"]["flops"]
            result["note"] = f"{100 * share:.1f} % of the operations; router {1e3 * answers['calibrated']['routing'][-1]:.2f} ms"


TILES = "inference-srresnet-tiles"  # the part of a first call
PARTS = ("inference-srresnet", "operators", "training", "routed", "inference-rcan")

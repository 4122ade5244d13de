"""Stages of the first call: what the body's convolutions take, and one network without a peer."""

import math
import statistics
from array import array
from pathlib import Path

import bench as benchmarks
from contest import Contestant, Failed
from outcome import CONTESTANT, failed, is_built, need_gpu

# Of SRResNet: the body, the convolution before a shuffle, the one to RGB, and the body's gradients; channels as multiples of the width.
SHAPES = (("forward", 1, 1), ("forward", 1, 4), ("forward", 1, 0), ("data", 1, 1), ("weights", 1, 1))


def contestant(run, record, part):
    """The contestant's process, and why there is none."""
    if not is_built():
        return None, failed("nothing is built")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return None, missing
    return Contestant("wbsr", [str(CONTESTANT), part], run.log, env=run.environment()), None


def convolutions(run, record):
    """A table: convolution and size -> the best of eight engines, and the first that cuDNN's heuristics name."""
    ours, wrong = contestant(run, record, "operators")
    if wrong:
        return wrong
    sizes = benchmarks.Sizes(run.tiny)
    patches = dict(batch=sizes.batches[16], height=sizes.patch // 4, width=sizes.patch // 4)
    width = sizes.srresnet["width"]
    table = []
    try:
        for where, size in (("tiles", sizes.tiles), ("frame", sizes.frame), ("patches", patches)):
            for mode, into, out in SHAPES:
                if (mode == "forward") != (where != "patches"):
                    continue
                shape = {"mode": mode, "in": into * width, "out": out * width or 8}
                name = f"{mode} {shape['in']} -> {shape['out']}"
                for autotune in (0, 8):
                    if run.left() < 10:
                        return {"state": "failed", "reason": f"no time left for {name} on {where}", "table": table}
                    inner = 1 if run.tiny else 4
                    request = dict(do="conv", autotune=autotune, repeats=5, inner=inner, **shape, **size)
                    row = {"convolution": name, "on": where, "autotune": autotune}
                    table.append(row)
                    try:
                        found = ours.ask(min(120, run.left()), **request)
                    except Failed as error:
                        if ours.process.poll() is not None:
                            raise
                        row["failed"] = str(error)
                        continue
                    row["plan"] = found["plan"]
                    row["seconds"] = statistics.median(found["seconds"])
                    row["tflops"] = round(found["flops"] / row["seconds"] / 1e12, 1) if row["seconds"] else None
                if "seconds" in table[-1]:
                    run.say(f"convolutions: {1e6 * row['seconds']:8.1f} us, {row['tflops']} TFLOP/s on {where}: {row['plan']}")
    except Failed as error:  # it has died; what it said before is nearer to the cause
        table[-1]["failed"] = str(error)
    finally:
        ours.close()
    bad = [row for row in table if "failed" in row]
    words = bad[0]["failed"] if bad else f"{len(table)} plans"
    return {"state": "failed" if bad else "done", "reason": words, "table": table}


def network(run, record):
    """SRResNet on tiles: milliseconds, whether its graph was captured, finite values, and the same bits twice."""
    ours, wrong = contestant(run, record, "inference")
    if wrong:
        return wrong
    sizes = benchmarks.Sizes(run.tiny)
    try:
        loaded = ours.ask(60, do="load", folder=run.scratch, **sizes.srresnet)
        prepared = ours.ask(min(200, run.left()), do="prepare", name="tiles", folder=run.scratch, **sizes.tiles)
        times = ours.ask(60, do="infer", name="tiles", repeats=10, inner=1 if run.tiny else 10)
        output = Path(run.scratch) / "tiles.wbsr.f32"
        ours.ask(120, do="save", name="tiles")
        first = output.read_bytes()
        ours.ask(120, do="save", name="tiles")
        values = array("f", first)
        same = {"finite": all(map(math.isfinite, values)), "twice": output.read_bytes() == first}
    except Failed as error:
        return failed(str(error))
    finally:
        ours.close()
    seconds = statistics.median(times["seconds"])
    flops = loaded["flops"] * sizes.tiles["batch"] * sizes.tiles["height"] * sizes.tiles["width"] / 1024
    figures = {"seconds": seconds, "all": times["seconds"], "tflops": flops / seconds / 1e12 if seconds else None}
    figures.update(preparedSeconds=prepared["seconds"], captured=times["captured"] == 1, **same)
    bad = [name for name in ("captured", "finite", "twice") if not figures[name]]
    words = f"{1e3 * seconds:.3f} ms" + (f", not {', '.join(bad)}" if bad else ", captured, the same bits twice")
    return {"state": "failed" if bad else "done", "reason": words, **figures}

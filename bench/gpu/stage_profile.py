"""The profile stage: what every kernel of one forward pass takes, and what bounds it."""

import csv
import io
import statistics
from pathlib import Path

from machine import tool
from outcome import CONTESTANT, failed, is_built, last_lines, need_gpu, skipped

METRICS = {
    "gpu__time_duration.sum": "ns",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "l2",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor",
}


def profile(run, record):
    program = tool("ncu")
    if not program:
        return skipped("ncu is not installed")
    missing = need_gpu(record)
    if missing:
        return missing
    if not is_built():
        return failed("nothing is built")
    # Only the first launches: weights, input, then every kernel of one forward pass in order (cuDNN's heuristics, untimed).
    load = f"do=load network=srresnet width=64 depth=16 folder={run.scratch} autotune=0"
    prepare = f"do=prepare name=tiles batch=64 height=64 width=64 folder={run.scratch}"
    script = Path(run.scratch) / "profile.sh"
    script.write_text(f"#!/bin/sh\nprintf '%s\\n' '{load}' '{prepare}' | exec {CONTESTANT} inference\n")
    for metrics in (list(METRICS), list(METRICS)[:3]):  # not every ncu knows all of them
        command = [
            program,
            "--clock-control",
            "none",
            "--target-processes",
            "all",
            "--launch-count",
            "110",
            "--csv",
            "--metrics",
            ",".join(metrics),
            "sh",
            script,
        ]
        status, text = run.command(command, None, run.environment())
        table = [line for line in text.splitlines() if line.startswith('"')]
        if table:
            break
    if not table:
        word = "skipped" if "ERR_NVGPUCTRPERM" in text or "LibraryNotLoaded" in text else "failed"
        return {"state": word, "reason": f"ncu: {status}: {last_lines(text)}"}
    kernels = {}
    for row in csv.DictReader(io.StringIO("\n".join(table))):
        key, name = METRICS.get(row.get("Metric Name")), row.get("Kernel Name", "?")
        if not key:
            continue
        try:
            value = float(row["Metric Value"].replace(",", ""))
        except ValueError:
            continue
        if key == "ns":
            value *= {"us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6, "s": 1e9, "second": 1e9}.get(
                row.get("Metric Unit"), 1
            )
        kernels.setdefault(name, {}).setdefault(key, []).append(value)
    top = []
    for name, figures in kernels.items():
        times = figures.get("ns", [])
        top.append(
            {
                "kernel": name[:160],
                "launches": len(times),
                "microseconds": round(sum(times) / 1e3, 1),
                **{k: round(statistics.median(v), 1) for k, v in figures.items() if k != "ns"},
            }
        )
    top.sort(key=lambda entry: -entry["microseconds"])
    for entry in top[:12]:
        shares = "  ".join(f"{key} {entry.get(key, 0):5.1f} %" for key in ("sm", "dram", "tensor"))
        run.say(f"profile: {entry['microseconds']:9.1f} us {entry['launches']:4d} x  {shares}  {entry['kernel'][:90]}")
    return {"state": "done", "reason": f"{len(top)} kernels", "kernels": top}

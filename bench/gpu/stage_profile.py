"""The profile stage: what every kernel of one forward pass takes, and what bounds it."""

import csv
import io
import statistics
from pathlib import Path

from bench import Sizes
from machine import tool
from outcome import CONTESTANT, failed, is_built, last_json, last_lines, need_gpu, skipped

METRICS = {
    "gpu__time_duration.sum": "ns",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "l2",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor",
}


def requests_script(run, requests):
    """A script that asks the contestant for all of them (serve.h: words are separated by tabs)."""
    lines = ["\t".join(f"{key}={value}" for key, value in request.items()) for request in requests]
    requests_file, script = Path(run.scratch) / "profile.txt", Path(run.scratch) / "profile.sh"
    requests_file.write_text("\n".join(lines) + "\n")
    script.write_text(f"#!/bin/sh\nexec '{CONTESTANT}' inference < '{requests_file}'\n")
    return script


def profile(run, record):
    program = tool("ncu")
    if not program:
        return skipped("ncu is not installed")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return missing
    if not is_built():
        return failed("nothing is built")
    # The plans that are timed elsewhere: the first run chooses those that no stage has kept yet, so that what ncu sees are
    # weights, input and then every kernel of one forward pass, in order.
    sizes = Sizes(run.tiny)
    requests = [
        dict(do="load", folder=run.scratch, **sizes.srresnet),
        dict(do="prepare", name="tiles", folder=run.scratch, **sizes.tiles),
    ]
    script = requests_script(run, requests)
    status, text = run.command(["sh", script], None, run.environment())
    result, wrong = last_json(status, text)
    if wrong:
        return wrong
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
        shares = "  ".join(f"{key} {entry.get(key, 0):5.1f} %" for key in ("sm", "dram", "l2", "tensor"))
        run.say(f"profile: {entry['microseconds']:9.1f} us {entry['launches']:4d} x  {shares}  {entry['kernel'][:90]}")
    return {"state": "done", "reason": f"{len(top)} kernels", "kernels": top}

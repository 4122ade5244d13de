"""The stages of bench/gpu.sh. Each returns {state: 'done' | 'failed' | 'skipped', reason?, ...figures}."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import bench as benchmarks
import machine
from machine import BUILD, CARRY, tool
from outcome import CONTESTANT, failed, is_built, last_json, last_lines, need_gpu, skipped
from stage_build import begin, build, peer_environment
from stage_first import convolutions, network
from stage_node import node
from stage_profile import profile

__all__ = [
    "begin",
    "bench",
    "build",
    "checks",
    "convolutions",
    "is_built",
    "kernels",
    "network",
    "node",
    "profile",
    "sanitizer",
    "tiles",
    "train",
]

WHOLE = ("network", "device", "devices", "conv", "conv_plans", "engines")  # mostly not our kernels
FIRST = ("conv", "engines")  # of these, what the first call runs beside our kernels' checks


def check_files(kind):
    """kernels: those of our kernels; first: these and FIRST; rest: what `first` leaves out, and the real networks."""
    files = sorted((BUILD / "checks-gpu").glob("cuda_*_check"))
    named = lambda names: [f"cuda_{name}_check" for name in names]
    if kind == "kernels":
        return [f for f in files if f.name not in named(WHOLE)]
    first = [f for f in files if f.name not in named(WHOLE) or f.name in named(FIRST)]
    if kind == "first":
        return first
    return [f for f in files if f not in first] + [f for f in [BUILD / "bench-gpu" / "gpu_networks_check"] if f.exists()]


def run_all(run, jobs, workers, limit):
    """jobs: (name, command). name -> {state, seconds, output}."""

    def one(job):
        name, command = job
        start = time.monotonic()
        status, text = run.command(command, limit, run.environment())
        lines = text.strip().splitlines()
        bad = [
            line
            for line in lines
            if line.startswith("not ok") or "ERROR SUMMARY" in line and "ERROR SUMMARY: 0 errors" not in line
        ]
        return (
            name,
            {
                "state": "done" if status == 0 else "failed",
                "status": status,
                "seconds": round(time.monotonic() - start, 2),
                "last": lines[-1][:300] if lines else "",
                "notOk": bad[:20],
            },
            text,
        )

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, jobs))


def summary(results):
    figures = {name: result for name, result, _ in results}
    bad = [name for name, result in figures.items() if result["state"] != "done"]
    if bad:
        details = figures[bad[0]]
        return failed(
            f"{', '.join(bad)}; {bad[0]}: {details['status']}, {(details['notOk'] or [details['last']])[0]}", checks=figures
        )
    return {"state": "done", "reason": f"{len(figures)} executables", "checks": figures}


def kernels(run, record):
    """Our kernels, cuDNN's engines, bf16 convolutions with a NaN."""
    return run_checks(run, record, "first")


def checks(run, record):
    return run_checks(run, record, "rest")


def run_checks(run, record, kind):
    files = check_files(kind)
    if not files:
        return failed("nothing is built")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return missing
    # Several at a time: most of their time goes into building cuDNN's plans on the CPU.
    return summary(
        run_all(run, [(f.name, [f, "small"] if run.tiny and f.name == "gpu_networks_check" else [f]) for f in files], 4, 140)
    )


def sanitizer(run, record):
    program = tool("compute-sanitizer")
    if not program:
        return skipped("compute-sanitizer is not installed")
    missing = need_gpu(record)
    if missing:
        return missing
    files = check_files("kernels")
    if not files:
        return failed("nothing is built")
    jobs = [
        (f"{kind} {f.name}", [program, "--tool", kind, "--error-exitcode", "9", f])
        for kind in ("memcheck", "racecheck")
        for f in files
    ]
    results = run_all(run, jobs, 4, run.left())
    refused = [text for _, _, text in results if "Device not supported" in text or "Unable to" in text and "debugger" in text]
    if len(refused) == len(results):
        return skipped(f"compute-sanitizer does not work on this machine: {last_lines(refused[0], 2)}")
    # A tool that was stopped by the clock has found nothing so far.
    slow = [name for name, result, _ in results if str(result["status"]).startswith(("timed out", "no time"))]
    rest = [entry for entry in results if entry[0] not in slow]
    found = summary(rest) if rest else failed("no check ended in time")
    found["notFinished"] = slow
    if slow and found["state"] == "done":
        found["reason"] += f"; not finished in time: {', '.join(slow)}"
    return found


def train(run, record):
    program = BUILD / "bench-gpu" / "gpu_train"
    photographs = CARRY / "photographs"
    if not program.exists():
        return failed("nothing is built")
    if not (photographs / "index.txt").exists():
        return failed(f"there are no photographs in {photographs}: run bench/gpu/carry.sh where Node is")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return missing
    tiny = (
        ["steps=3", "batch=1", "patch=32", "widths=8", "depths=1", "size=64"]
        if run.tiny
        else ["steps=1000", "batch=16", "patch=128"]
    )
    status, text = run.command([program, f"photographs={photographs}", *tiny], None, run.environment())
    result, wrong = last_json(status, text)
    if wrong:
        return wrong
    words = f"{result['psnr']:.2f} dB, bicubic {result['bicubic']:.2f} dB, {1e3 * result['secondsPerStep']:.1f} ms a step"
    return {"state": "done" if status == 0 or run.tiny else "failed", "reason": words, **result}


def tiles(run, record):
    """SRResNet on tiles against PyTorch."""
    return compete(run, record, "tiles", [benchmarks.TILES])


def bench(run, record):
    return compete(run, record, "bench", run.parts)


def compete(run, record, stage, parts):
    if not is_built():
        return failed("nothing is built")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return missing
    warmed = None
    if run.warm:
        # Compilation beside the measurements would disturb them.
        start = time.monotonic()
        spare = 150 if stage == "bench" else 60
        while run.warm.poll() is None and time.monotonic() - start < 100 and run.left() > spare:
            time.sleep(0.5)
        warmed = {"waited": round(time.monotonic() - start, 1), "finished": run.warm.poll() == 0}
        if run.warm.poll() is None:
            run.kill(run.warm)
        run.say(
            f"{stage}: PyTorch's compilation {'is done' if warmed['finished'] else 'was stopped'} after waiting {warmed['waited']} s"
        )
    setup = {
        "tiny": run.tiny,
        "contestant": str(CONTESTANT),
        "python": run.python,
        "no_torch": run.no_torch,
        "environment": run.environment(),
        "peer_environment": peer_environment(run),
        "folder": run.scratch,
        "photographs": str(CARRY / "photographs") if (CARRY / "photographs" / "index.txt").exists() else None,
        "regions": os.environ.get("WBSR_REGIONS") or str(CARRY / "regions.txt"),
        "frame": os.environ.get("WBSR_FRAME") or str(CARRY / "frame.rgb"),
    }
    found = {}
    for part in parts:
        competition = benchmarks.Bench(setup, run.log, run.deadline)
        if competition.left() < 15:
            found[part] = {"skipped": "no time left"}
            continue
        found[part] = competition.run(part)
        run.say(f"{stage}: {part}: {found[part].get('failed') or 'done'} ({found[part]['partSeconds']:.0f} s)")
        record["stages"][stage] = {"state": "failed", "reason": "stopped", "parts": found}  # in case of a kill
    bad = [part for part, result in found.items() if "failed" in result]
    reason = f"{bad[0]}: {found[bad[0]]['failed']}"[:400] if bad else None
    return {
        "state": "failed" if bad else "done",
        "reason": reason,
        "warmed": warmed,
        "clocksAfter": machine.gpu(),
        "parts": found,
    }

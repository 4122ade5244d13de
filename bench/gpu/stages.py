"""The stages of bench/gpu.sh. Each returns {state: 'done' | 'failed' | 'skipped', reason?, ...figures}."""

import csv
import io
import json
import lzma
import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bench as benchmarks
import machine
from machine import BUILD, CARRY, PACKED, ROOT, tool

CONTESTANT = BUILD / "bench-gpu" / "gpu_contestant"


def is_built():
    return CONTESTANT.exists()


def failed(reason, **figures):
    return {"state": "failed", "reason": reason, **figures}


def skipped(reason, **figures):
    return {"state": "skipped", "reason": reason, **figures}


def last_lines(text, count=3):
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:])


# --- what runs beside the build ---


def begin(run, record, chosen):
    """Starts PyTorch's compilation of what the bench stage needs: minutes of CPU work that the build need not wait for."""
    run.warm = None
    if "bench" not in chosen or not run.python or not record["gpu"]:
        return
    env = peer_environment(run)
    env["WBSR_WARM_PLAN"] = json.dumps(benchmarks.Sizes(run.tiny).warm_plan())
    run.warm = run.spawn(
        [
            run.python,
            "-u",
            ROOT / "bench" / "gpu" / "peer_torch.py",
            "warm",
            *(part for part in ("inference-srresnet", "training", "operators", "inference-rcan") if part in run.parts),
        ],
        env=env,
    )


def peer_environment(run):
    env = dict(os.environ)
    env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(BUILD / "inductor"))
    env.setdefault("TRITON_CACHE_DIR", str(BUILD / "triton"))
    return env


# --- build ---


def configuration(run, record):
    capability = ((record["gpu"] or {}).get("capability") or "9.0").replace(".", "")
    arguments = [
        "cmake",
        "-S",
        ROOT,
        "-B",
        BUILD,
        "-DCMAKE_BUILD_TYPE=Release",
        "-DWBSR_GPU_CHECKS=ON",
        "-DWBSR_CHECKS=OFF",
        "-DWBSR_CUDA=ON",
        f"-DWBSR_CUDA_ARCHITECTURES={capability}-real",
    ]
    if shutil.which("ninja"):
        arguments += ["-G", "Ninja"]
    if not Path("/usr/include/dnnl.hpp").exists() and (CARRY / "include" / "dnnl.hpp").exists():
        arguments += [
            f"-DDNNL_INCLUDE_DIR={CARRY / 'include'}",
            f"-DDNNL_LIBRARY={CARRY / 'lib' / 'libdnnl.so.2'}",
            f"-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,{CARRY / 'lib'}",
            f"-DCMAKE_MODULE_LINKER_FLAGS=-Wl,-rpath-link,{CARRY / 'lib'}",
        ]
    headers = [
        folder / "node_modules" / part
        for part in ("node-api-headers/include", "node-addon-api")
        for folder in (CARRY, ROOT)
        if (folder / "node_modules" / part).is_dir()
    ][:]
    names = {}
    for path in headers:  # the carried ones first
        names.setdefault(path.name, path)
    if len(names) == 2:
        arguments += ["-DCMAKE_JS_INC=" + ";".join(map(str, names.values()))]
    return arguments


def build(run, record):
    if not shutil.which("cmake"):
        return failed("cmake is not installed")
    if not tool("nvcc"):
        return failed("there is no nvcc on PATH or in /usr/local/cuda*/bin")
    env = dict(os.environ)
    env["PATH"] = f"{Path(tool('nvcc')).parent}:{env.get('PATH', '')}"
    jobs = max(1, (os.cpu_count() or 2) + 1)
    arguments = configuration(run, record)
    status, text = run.command(arguments, 120, env)
    if status != 0:
        return failed(f"cmake: {status}: {last_lines(text)}")
    start = time.monotonic()
    status, text = run.command(["cmake", "--build", BUILD, "-j", jobs], None, env)
    result = {"addon": (BUILD / "Release" / "wbsr.node").exists(), "compileSeconds": round(time.monotonic() - start, 1)}
    if status == 0:
        return {"state": "done", **result}
    first = next((line for line in text.splitlines() if "error" in line.lower()), last_lines(text))
    if run.left() < 60:
        return failed(f"{status}: {first}", **result)
    # A compiler that this was not tried with may know new warnings: they are a failure, but not of the other stages.
    run.say(f"build: {status}: {first[:200]}; again without warnings as errors")
    wrapper = BUILD / "cxx-without-werror"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which(env.get("CXX", "g++"))} "$@" -Wno-error\n')
    wrapper.chmod(0o755)
    env["NVCC_APPEND_FLAGS"] = "-Xcompiler=-Wno-error"
    (BUILD / "CMakeCache.txt").unlink(missing_ok=True)
    shutil.rmtree(BUILD / "CMakeFiles", ignore_errors=True)
    run.command([*arguments, f"-DCMAKE_CXX_COMPILER={wrapper}"], 120, env)
    again, text = run.command(
        ["cmake", "--build", BUILD, "-j", jobs, "--", *(["-k", "0"] if shutil.which("ninja") else ["-k"])], None, env
    )
    return failed(
        f"{first[:300]}; without warnings as errors: {'built' if again == 0 else f'{again}: {last_lines(text)}'}", **result
    )


def need_gpu(record):
    if not record["gpu"]:
        return skipped("nvidia-smi shows no GPU")
    return None


# --- checks ---


def check_files(operators_only=False):
    files = sorted((BUILD / "checks-gpu").glob("cuda_*_check"))
    if operators_only:
        return [f for f in files if f.name not in ("cuda_network_check", "cuda_device_check", "cuda_devices_check")]
    return files + [f for f in [BUILD / "bench-gpu" / "gpu_networks_check"] if f.exists()]


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


def checks(run, record):
    files = check_files()
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
    files = check_files(operators_only=True)
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


# --- train ---


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
    try:
        result = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return failed(f"{status}: {last_lines(text)}")
    if "error" in result:
        return failed(result["error"])
    words = f"{result['psnr']:.2f} dB, bicubic {result['bicubic']:.2f} dB, {1e3 * result['secondsPerStep']:.1f} ms a step"
    return {"state": "done" if status == 0 or run.tiny else "failed", "reason": words, **result}


# --- bench ---


def bench(run, record):
    if not is_built():
        return failed("nothing is built")
    missing = need_gpu(record)
    if missing and not run.tiny:
        return missing
    warmed = None
    if run.warm:
        # Compilation beside the measurements would disturb them.
        start = time.monotonic()
        while run.warm.poll() is None and time.monotonic() - start < 100 and run.left() > 150:
            time.sleep(0.5)
        warmed = {"waited": round(time.monotonic() - start, 1), "finished": run.warm.poll() == 0}
        if run.warm.poll() is None:
            run.kill(run.warm)
        run.say(
            f"bench: PyTorch's compilation {'is done' if warmed['finished'] else 'was stopped'} after waiting {warmed['waited']} s"
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
        "plan": os.environ.get("WBSR_PLAN") or str(CARRY / "plan.txt"),
        "frame": os.environ.get("WBSR_FRAME") or str(CARRY / "frame.rgb"),
    }
    found = {}
    for part in run.parts:
        competition = benchmarks.Bench(setup, run.log, run.deadline)
        if competition.left() < 15:
            found[part] = {"skipped": "no time left"}
            continue
        found[part] = competition.run(part)
        run.say(f"bench: {part}: {found[part].get('failed') or 'done'} ({found[part]['partSeconds']:.0f} s)")
        record["stages"]["bench"] = {"state": "failed", "reason": "stopped", "parts": found}  # in case of a kill
    bad = [part for part, result in found.items() if "failed" in result]
    reason = f"{bad[0]}: {found[bad[0]]['failed']}"[:400] if bad else None
    return {
        "state": "failed" if bad else "done",
        "reason": reason,
        "warmed": warmed,
        "clocksAfter": machine.gpu(),
        "parts": found,
    }


# --- node ---


def node_binary(run):
    """Node of the machine, else the carried one, unpacked."""
    own = os.environ.get("WBSR_NODE") or shutil.which("node")
    if own:
        return own
    packed, unpacked = PACKED / "node.xz", BUILD / "node"
    if not packed.exists():
        return None
    if not unpacked.exists():
        with lzma.open(packed) as source, open(unpacked, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        unpacked.chmod(0o755)
    return str(unpacked)


def node(run, record):
    program = node_binary(run)
    if not program:
        return skipped("there is no Node: bench/gpu/carry.sh packs one where it is")
    if not (BUILD / "Release" / "wbsr.node").exists():
        return failed(
            "the addon is not built (node_modules with node-addon-api and node-api-headers: carried, or of npm install)"
        )
    package = BUILD / "package"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for name, places in {"dist": (CARRY, ROOT), "node_modules": (CARRY, ROOT), "package.json": (ROOT,)}.items():
        place = next((p / name for p in places if (p / name).exists()), None)
        if not place:
            return failed(f"there is no {name}: run bench/gpu/carry.sh where Node is (after npm run build:ts)")
        os.symlink(place, package / name)
    (package / "build").mkdir()
    os.symlink(BUILD / "Release", package / "build" / "Release")
    missing = need_gpu(record)
    device = "cpu" if missing and run.tiny else "cuda"
    if missing and not run.tiny:
        return missing
    script = package / "upscale.mjs"  # beside its dist: imports go by the file's real place
    shutil.copyfile(ROOT / "bench" / "gpu" / "upscale.mjs", script)
    arguments = [
        program,
        "--preserve-symlinks",
        "--preserve-symlinks-main",
        script,
        CARRY / "model.safetensors",
        CARRY / "frame.rgb",
        "1920",
        "1080",
        device,
        "1" if run.tiny else "10",
    ]
    status, text = run.command([*arguments, *(["tiny"] if run.tiny else [])], None, run.environment())
    try:
        result = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return failed(f"{status}: {last_lines(text)}")
    if "error" in result:
        return failed(result["error"])
    for times in result["times"].values():
        times["seconds"] = statistics.median(times["all"])
    good = status == 0 and result["agree"]
    return {"state": "done" if good else "failed", "reason": result["note"], **result}


# --- profile ---

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

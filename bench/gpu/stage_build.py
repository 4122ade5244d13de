"""The build stage, and PyTorch's compilation beside it."""

import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import bench as benchmarks
from machine import BUILD, CARRY, PACKED, ROOT, sources, tool
from outcome import CONTESTANT, failed, last_lines


def begin(run, record, chosen):
    """Starts PyTorch's compilation of what the bench stage needs: minutes of CPU work that the build need not wait for."""
    run.warm = None
    parts = [benchmarks.TILES] if "tiles" in chosen else []
    if "bench" in chosen:
        parts += [p for p in ("inference-srresnet", "training", "operators", "inference-rcan") if p in run.parts]
    if not parts or not run.python or not record["gpu"]:
        return
    env = peer_environment(run)
    env["WBSR_WARM_PLAN"] = json.dumps(benchmarks.Sizes(run.tiny).warm_plan())
    run.warm = run.spawn(
        [
            run.python,
            "-u",
            ROOT / "bench" / "gpu" / "peer_torch.py",
            "warm",
            *parts,
        ],
        env=env,
    )


def peer_environment(run):
    env = dict(os.environ)
    env.setdefault("TORCHINDUCTOR_CACHE_DIR", str(BUILD / "inductor"))
    env.setdefault("TRITON_CACHE_DIR", str(BUILD / "triton"))
    return env


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


def carried(run, record):
    """Unpacks executables that were built elsewhere for this card from these sources; whether they run here."""
    capability = ((record["gpu"] or {}).get("capability") or "9.0").replace(".", "")
    archive = PACKED / f"binaries-{capability}.tar.xz"
    if not archive.exists():
        return "none are carried"
    with tarfile.open(archive, "r:xz") as packed:
        names = packed.getnames()
        if f"sources-{sources()}" not in names:
            return "those that are carried were built from other sources"
        BUILD.mkdir(parents=True, exist_ok=True)
        packed.extractall(BUILD, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    status, text = run.command([CONTESTANT, "nothing"], 60, run.environment())
    if status == 2 and "Expected inference" in text:
        return None
    CONTESTANT.unlink(missing_ok=True)
    return f"those that are carried do not run here: {status}: {last_lines(text)}"


def build(run, record):
    why = carried(run, record)
    if not why:
        return {"state": "done", "reason": "carried", "addon": (BUILD / "Release" / "wbsr.node").exists()}
    run.say(f"build: compiles: {why}")
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
    # An untested compiler may have new warnings: they are a failure, but not of the other stages.
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

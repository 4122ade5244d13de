"""The node stage: upscale() through Node, from a package put together of what was carried and what was built here."""

import lzma
import os
import shutil
import statistics

from machine import BUILD, CARRY, PACKED, ROOT
from outcome import failed, last_json, need_gpu, skipped


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
    script = package / "bench" / "gpu" / "upscale.mjs"  # a copy: imports go by the file's real place
    script.parent.mkdir(parents=True)
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
    ]
    # A process that compiles cuDNN's plans, then one that finds them kept.
    environment = run.environment({"WBSR_PLAN_CACHE": str(package / "plans")})
    first = {}
    for process, rounds in (("compiling", "0"), ("reading", "1" if run.tiny else "10")):
        status, text = run.command([*arguments, rounds, *(["tiny"] if run.tiny else [])], None, environment)
        result, wrong = last_json(status, text)
        if wrong:
            return wrong
        first[process] = result.pop("first")
    result["first"] = first
    result["plansKept"] = len(list((package / "plans").glob("*.plan"))) if (package / "plans").exists() else 0
    for times in result["times"].values():
        times["seconds"] = statistics.median(times["all"])
    good = status == 0 and result["agree"]
    return {"state": "done" if good else "failed", "reason": result["note"], **result}

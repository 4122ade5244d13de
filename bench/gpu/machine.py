"""What is there: GPU, compilers, libraries, commit. Whatever is missing is None; nothing here fails."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("WBSR_GPU_BUILD") or ROOT / "build-gpu")
PACKED = Path(os.environ.get("WBSR_GPU_PACKED") or ROOT / ".gpu-carry")  # as carry.sh leaves it
CARRY = BUILD / "carry"  # unpacked


def sources():
    """A hash of all that the executables are built from."""
    digest = hashlib.sha256()
    for folder in ("native", "bench/gpu", "test/native/cuda", "test/support"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".cc", ".cu", ".h", ".cmake", ".map") or file.name == "CMakeLists.txt":
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    digest.update((ROOT / "CMakeLists.txt").read_bytes())
    return digest.hexdigest()[:16]


def output(*command, cwd=None, timeout=60):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def tool(name, *folders):
    """Path of a program: PATH, then folders, then the CUDA toolkits."""
    toolkits = sorted(Path("/usr/local").glob("cuda*"), reverse=True)
    for folder in [*folders, *(t / "bin" for t in toolkits), *(t / "compute-sanitizer" for t in toolkits)]:
        if shutil.which(name) is None and os.access(Path(folder) / name, os.X_OK):
            return str(Path(folder) / name)
    return shutil.which(name)


TORCH_FACTS = """
import json, os, torch, importlib.util
spec = importlib.util.find_spec('nvidia')
bases = list(spec.submodule_search_locations) if spec else []
places = [os.path.join(base, name, 'lib') for base in bases for name in sorted(os.listdir(base))]
facts = {'torch': torch.__version__, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}
facts['seesGpu'] = torch.cuda.is_available()
print(json.dumps({**facts, 'libraries': [place for place in places if os.path.isdir(place)]}))
"""


def python_with_torch():
    """(the Python whose `import torch` works, what it has) or (None, why)."""
    if os.environ.get("WBSR_NO_TORCH"):
        return None, "WBSR_NO_TORCH is set"
    reason = "no python3"
    for python in dict.fromkeys(
        filter(None, [os.environ.get("WBSR_PYTHON"), sys.executable, shutil.which("python3"), "/opt/torch/.venv/bin/python3"])
    ):
        if not os.access(python, os.X_OK):
            continue
        try:
            done = subprocess.run([python, "-W", "ignore", "-c", TORCH_FACTS], capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            reason = f"{python}: `import torch` takes longer than two minutes"
            continue
        if done.returncode == 0:
            return python, json.loads(done.stdout.strip().splitlines()[-1])
        reason = f"{python} has no PyTorch: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return None, reason


def unpack():
    """What carry.sh packed, once for each packing. Says what happened."""
    archive, mark = PACKED / "packed.tar.xz", CARRY / "unpacked"
    if not archive.exists():
        return f"there is no {archive}: bench/gpu/carry.sh makes it where Node is"
    state = f"{archive.stat().st_size} {archive.stat().st_mtime_ns}"
    if mark.exists() and mark.read_text() == state:
        return "unpacked before"
    shutil.rmtree(CARRY, ignore_errors=True)
    CARRY.mkdir(parents=True)
    with tarfile.open(archive, "r:xz") as packed:
        packed.extractall(CARRY, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    mark.write_text(state)
    return "unpacked"


def gpu():
    """name, driver, memory, compute capability and clocks of the first card, or None."""
    names = {"name": "name", "driver": "driver_version", "memory": "memory.total", "capability": "compute_cap"}
    more = {
        "smClock": "clocks.sm",
        "memoryClock": "clocks.mem",
        "maxSmClock": "clocks.max.sm",
        "powerLimit": "power.limit",
        "temperature": "temperature.gpu",
    }
    for fields in ({**names, **more}, names, {"name": "name", "driver": "driver_version"}):  # an older nvidia-smi knows fewer
        line = output("nvidia-smi", "--query-gpu=" + ",".join(fields.values()), "--format=csv,noheader")
        if line:
            return dict(zip(fields, (part.strip() for part in line.splitlines()[0].split(","))))
    return None


def commit():
    head = output("git", "rev-parse", "HEAD", cwd=ROOT)
    if head:
        return {"commit": head, "clean": output("git", "status", "--porcelain", "--untracked-files=no", cwd=ROOT) == ""}
    carried = PACKED / "commit.txt"
    return {"commit": carried.read_text().strip(), "clean": None, "from": "carry.sh"} if carried.exists() else {"commit": None}


def versions():
    nvcc = tool("nvcc")
    text = output(nvcc, "--version") if nvcc else None
    release = re.search(r"release [\d.]+, V([\d.]+)", text or "")
    first = lambda *command: (output(*command) or "").splitlines()[:1] or [None]
    return {
        "nvcc": release.group(1) if release else None,
        "cxx": first(os.environ.get("CXX", "g++"), "--version")[0],
        "cmake": first("cmake", "--version")[0],
        "system": first("uname", "-sr")[0],
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }

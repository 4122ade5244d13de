"""bench/gpu.sh: runs the stages within their time, whatever fails, and keeps one JSON file up to date after each."""

import argparse
import json
import os
import re
import signal
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

sys.dont_write_bytecode = True
import machine
import stages
import targets

# Seconds that a stage may take at most; `keep`: what it leaves to the stages after it. The cheapest knowledge comes first.
STAGES = {
    "build": dict(budget=240, keep=60),
    "kernels": dict(budget=90, keep=60),
    "convolutions": dict(budget=90, keep=45),
    "network": dict(budget=60, keep=30),
    "profile": dict(budget=45, keep=15),
    "tiles": dict(budget=150, keep=0),
    "checks": dict(budget=120, keep=60),
    "train": dict(budget=60, keep=60),
    "bench": dict(budget=400, keep=75),
    "node": dict(budget=60, keep=30),
    "sanitizer": dict(budget=90, keep=0),
}
# Groups of stages that fit into one call each: (stages, seconds).
CALLS = {
    "first": (["build", "kernels", "convolutions", "network", "profile", "tiles"], 400),
    "second": (["build", "checks", "train", "bench", "node", "sanitizer"], 480),
}


class Plans:
    """cuDNN's compiled plans: one folder for all stages, kept in the results, so that a second run starts with them."""

    def __init__(self, folder, archive):
        self.folder, self.archive = folder, archive
        folder.mkdir(mode=0o700)
        self.saved = self.restored = 0
        carried = machine.PACKED / archive.name
        for place in (archive, carried):
            if not place.exists():
                continue
            with tarfile.open(place, "r:xz") as packed:  # written by another run: only plans are taken out
                for member in packed.getmembers():
                    if member.isfile() and re.fullmatch(r"[0-9a-f]{16}\.plan", member.name):
                        (folder / member.name).write_bytes(packed.extractfile(member).read())
            self.restored = self.saved = len(self.files())
            break

    def files(self):
        return sorted(self.folder.glob("*.plan"))

    def save(self):
        files = self.files()
        if len(files) == self.saved:
            return
        temporary = self.archive.with_suffix(".tmp")
        with tarfile.open(temporary, "w:xz", preset=1) as packed:
            for file in files:
                packed.add(file, file.name)
        temporary.replace(self.archive)
        self.saved = len(files)


class Run:
    def __init__(self, seconds, tiny):
        self.start = time.monotonic()
        self.end = self.start + seconds
        self.tiny = tiny
        self.stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d-%H-%M-%S")
        self.folder = Path(os.environ.get("OUT") or machine.ROOT / "bench" / "results")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / f"gpu-{self.stamp}.log"
        self.log = open(self.log_path, "w", errors="replace")
        self.scratch = tempfile.mkdtemp(prefix="wbsr-gpu-")
        self.plans = Plans(Path(self.scratch) / "plans", self.folder / "gpu-plans.tar.xz")
        self.deadline = self.end
        self.children = []
        self.commands = []

    def say(self, text):
        line = f"[{time.monotonic() - self.start:5.0f} s] {text}"
        print(line, flush=True)
        self.log.write(line + "\n")
        self.log.flush()

    def left(self):
        return self.deadline - time.monotonic()

    def environment(self, extra=None):
        """Of our own executables: oneDNN where it was carried, cuDNN and what it loads from PyTorch's wheels. The system's
        own places come first by LD_LIBRARY_PATH's order: what was there already."""
        env = dict(os.environ)
        places = [env["LD_LIBRARY_PATH"]] if env.get("LD_LIBRARY_PATH") else []
        places += self.library_places
        if places:
            env["LD_LIBRARY_PATH"] = ":".join(places)
        if self.cudnn:
            env.setdefault("WBSR_CUDNN_PATH", self.cudnn)
        env["WBSR_PLAN_CACHE"] = str(self.plans.folder)  # of all stages; `node` also tries an empty one
        env.update(extra or {})
        return env

    def spawn(self, command, env=None, cwd=None, output=None):
        self.commands.append(" ".join(map(str, command)))
        self.log.write(f"$ {self.commands[-1]}\n")
        self.log.flush()
        process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=output or self.log,
            stderr=subprocess.STDOUT,
            env=env or dict(os.environ),
            cwd=cwd,
            start_new_session=True,
        )
        self.children.append(process)
        return process

    def kill(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def command(self, command, timeout=None, env=None, cwd=None):
        """(exit status or 'timed out' or why it did not start, its output)."""
        limit = min(timeout or 1e9, self.left())
        if limit < 1:
            return "no time left", ""
        with tempfile.TemporaryFile() as output:
            try:
                process = self.spawn(command, env, cwd, output)
            except OSError as error:
                return str(error), ""
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                self.kill(process)
                status = f"timed out after {limit:.0f} s"
            output.seek(0)
            text = output.read().decode(errors="replace")
        self.log.write(text + f"\n[{status}]\n")
        self.log.flush()
        return status, text

    def close(self):
        for process in self.children:
            if process.poll() is None:
                self.kill(process)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.log.close()
        limit = 15 << 20  # what comes back from a lent machine is bounded
        if self.log_path.stat().st_size > limit:
            data = self.log_path.read_bytes()
            self.log_path.write_bytes(data[: limit // 3] + b"\n[... cut ...]\n" + data[-limit // 2 :])


def find_out(run, record):
    """The machine's facts; what our executables need from PyTorch's wheels."""
    record["gpu"] = machine.gpu()
    record["versions"] = machine.versions()
    record["source"] = machine.commit()
    run.python, facts = machine.python_with_torch()
    run.no_torch = None if run.python else facts
    run.library_places = facts.pop("libraries") if run.python else []
    run.cudnn = next((place for place in run.library_places if (Path(place) / "libcudnn.so.9").exists()), None)
    record["versions"]["torch"] = facts if run.python else {"missing": facts}
    record["versions"]["cudnnFolder"] = os.environ.get("WBSR_CUDNN_PATH") or run.cudnn
    record["carried"] = machine.unpack()
    carried = machine.CARRY / "lib"
    if carried.is_dir():
        run.library_places.append(str(carried))
    if "libgomp.so.1" not in (machine.output("ldconfig", "-p") or machine.output("/sbin/ldconfig", "-p") or ""):
        run.library_places.append(str(machine.CARRY / "lib-gomp"))


def main():
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description="wbsr on a GPU: " + ", ".join(STAGES))
    parser.add_argument(
        "stages", nargs="*", metavar="stage", help="some of " + ", ".join(STAGES) + ", or first or second; default: all"
    )
    parser.add_argument("--seconds", type=float, help="in all (default 570; first 400, second 480)")
    parser.add_argument("--parts", default=",".join(stages.benchmarks.PARTS), help="of the bench stage: some of %(default)s")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: tries the machinery, measures nothing")
    options = parser.parse_args()
    run_parts = options.parts.split(",")
    if strange := [part for part in run_parts if part not in stages.benchmarks.PARTS]:
        parser.error(f"there is no part {strange[0]}; there are {', '.join(stages.benchmarks.PARTS)}")
    unknown = [name for name in options.stages if name not in STAGES and name not in CALLS]
    if unknown:
        parser.error(f"there is no stage {unknown[0]}; there are {', '.join([*STAGES, *CALLS])}")
    wanted = [stage for name in options.stages for stage in (CALLS[name][0] if name in CALLS else [name])]
    chosen = [name for name in STAGES if not wanted or name in wanted]
    seconds = CALLS[options.stages[0]][1] if len(options.stages) == 1 and options.stages[0] in CALLS else 570
    run = Run(options.seconds or seconds, options.tiny)
    run.parts = run_parts
    if chosen != ["build"] and "build" not in chosen and not stages.is_built():
        run.say("build: first, since build-gpu/ has no executables yet")
        chosen.insert(0, "build")
    record = {
        "date": run.stamp,
        "command": " ".join(["bench/gpu.sh", *sys.argv[1:]]),
        "tiny": options.tiny,
        "stages": {},
    }
    path = run.folder / f"gpu-{run.stamp}.json"

    def write():
        record["seconds"] = round(time.monotonic() - run.start, 1)
        record["plans"] = {"restored": run.plans.restored, "kept": len(run.plans.files())}
        record["commands"] = run.commands
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1, default=str) + "\n")
        temporary.replace(path)

    def ended(number, _):
        raise KeyboardInterrupt(f"signal {number}")

    signal.signal(signal.SIGTERM, ended)
    failed = []
    try:
        find_out(run, record)
        card = record["gpu"]
        run.say(f"{card['name']}, driver {card['driver']}" if card else "nvidia-smi shows no GPU: what needs one will say so")
        stages.begin(run, record, chosen)
        for index, name in enumerate(chosen):
            limits = STAGES[name]
            keep = limits["keep"] if index + 1 < len(chosen) else 0
            run.deadline = min(time.monotonic() + limits["budget"], run.end - keep)
            start = time.monotonic()
            if run.left() < 5:
                result = {"state": "failed", "reason": "no time left"}
            else:
                try:
                    result = getattr(stages, name)(run, record)
                except Exception as error:  # a mistake in a stage must not cost the others
                    traceback.print_exc(file=run.log)
                    result = {**record["stages"].get(name, {}), "state": "failed", "reason": repr(error)}
            result["stageSeconds"] = round(time.monotonic() - start, 1)
            record["stages"][name] = result
            if result["state"] == "failed":
                failed.append(name)
            run.plans.save()
            run.say(
                f"{name}: {result['state']}{': ' + str(result['reason']) if result.get('reason') else ''} ({result['stageSeconds']} s)"
            )
            write()
    except KeyboardInterrupt as error:
        run.say(f"stopped: {error}")
        failed.append("stopped")
    finally:
        tiles = record["stages"].get("tiles", {}).get("parts", {}).get(stages.benchmarks.TILES)
        parts = {**({"inference-srresnet": tiles} if tiles else {}), **record["stages"].get("bench", {}).get("parts", {})}
        if "node" in record["stages"]:
            parts["node"] = record["stages"]["node"]
        if parts:
            record["targets"] = [row.json() for row in targets.rows(parts, run.tiny)]
            text = targets.table(parts, run.tiny)
            run.log.write(text + "\n")
            print(text)
        write()
        run.close()
    print(f"written: {path} and {run.log_path}")
    if failed:
        print("failed: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

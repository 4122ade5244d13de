"""Contestants as processes that are asked in turns: one line out, one line of JSON back (serve.h, peer_torch.py)."""

import json
import os
import select
import signal
import statistics
import subprocess
import time


# Factor of all time limits: the tests run kernels on a CPU that other programs may use too.
PATIENCE = float(os.environ.get("WBSR_BENCH_PATIENCE", 1))


class Failed(Exception):
    """A contestant that answered with an error, died or was too slow."""


class Contestant:
    def __init__(self, name, command, log, env=None, cwd=None):
        self.name = name
        self.log = log
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, cwd=cwd, start_new_session=True
        )
        self.pending = b""

    def ask(self, timeout, **request):
        line = "\t".join(f"{key}={value}" for key, value in request.items())  # values may have spaces
        self.log.write(f"{self.name} < {line}\n")
        self.log.flush()
        deadline = time.monotonic() + max(timeout, 1) * PATIENCE
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
            answer = json.loads(self.line(deadline))
        except (OSError, ValueError) as error:
            raise Failed(f"{self.name}, {line}: {error}; exit status {self.process.poll()}") from error
        text = json.dumps(answer)
        self.log.write(f"{self.name} > {text[:500]}\n")
        if "error" in answer:
            raise Failed(f"{self.name}, {line}: {answer['error']}")
        return answer

    def line(self, deadline):
        output = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                self.close()
                raise OSError("no answer in time")
            part = os.read(output, 1 << 16)
            if not part:
                self.process.wait(10)
                raise OSError("it ended")
            self.pending += part
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own, compile workers included
        except ProcessLookupError:
            pass
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:  # what was written last has no reader any more
                pass


def in_turns(turns, rounds, deadline):
    """turns: name -> function that returns a list of seconds. Each round asks all of them, another one first each time;
    the first round is not counted. One that fails drops out. name -> {seconds, all, failed}."""
    results = {name: {"all": []} for name in turns}
    order = list(turns)
    for n in range(rounds + 1):
        if n > 2 and time.monotonic() > deadline:
            break
        for name in order[n % len(order) :] + order[: n % len(order)]:
            if "failed" in results[name]:
                continue
            try:
                seconds = turns[name]()
            except Failed as error:
                results[name]["failed"] = str(error)
                continue
            if n > 0:
                results[name]["all"] += seconds
    for result in results.values():
        if "failed" not in result:
            result["seconds"] = statistics.median(result["all"])
            result["spread"] = [min(result["all"]), max(result["all"])]
    return results

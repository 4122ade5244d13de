"""What a stage returns, and what every stage asks first."""

from machine import BUILD

CONTESTANT = BUILD / "bench-gpu" / "gpu_contestant"


def is_built():
    return CONTESTANT.exists()


def failed(reason, **figures):
    return {"state": "failed", "reason": reason, **figures}


def skipped(reason, **figures):
    return {"state": "skipped", "reason": reason, **figures}


def last_lines(text, count=3):
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:])


def need_gpu(record):
    if not record["gpu"]:
        return skipped("nvidia-smi shows no GPU")
    return None

"""What a stage returns, and what every stage asks first."""

import json

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


def last_json(status, text):
    """What a program printed last, and why it is of no use or None."""
    try:
        result = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None, failed(f"{status}: {last_lines(text)}")
    return result, failed(result["error"]) if "error" in result else None


def need_gpu(record):
    if not record["gpu"]:
        return skipped("nvidia-smi shows no GPU")
    return None

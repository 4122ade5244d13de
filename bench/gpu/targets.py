"""What is wanted on an H200-class card (issue 3, point 6), as code: from what the bench stage measured to rows of a table."""


def at(results, *keys):
    for key in keys:
        if not isinstance(results, dict) or key not in results:
            return None
        results = results[key]
    return results


def why_missing(results, *keys):
    """The reason that stands nearest to the missing figure."""
    reason = "not run"
    for key in keys:
        if not isinstance(results, dict):
            break
        reason = results.get("failed") or results.get("skipped") or reason
        results = results.get(key)
        if results is None:
            break
    if isinstance(results, dict):
        reason = results.get("failed") or results.get("skipped") or reason
    return reason


class Row:
    """One figure. keys: where both its times are; agree: whether the outputs were checked and fit."""

    def __init__(self, what, wanted, measured, reason, agree=True, note="", judged=True):
        self.what, self.wanted, self.measured, self.note = what, wanted, measured, note
        if measured is None:
            self.state = "not run"
            self.note = reason
        elif not judged:
            self.state = ""
        else:
            sign, limit = wanted.split()[0], float(wanted.split()[1])
            good = measured >= limit if sign == ">=" else measured <= limit
            self.state = "reached" if good and agree else "missed" if agree else "WRONG RESULTS"

    def json(self):
        return {"what": self.what, "measured": self.measured, "wanted": self.wanted, "state": self.state, "note": self.note}


def ratio(results, path, ours, theirs):
    a, b = at(results, *path, "times", ours, "seconds"), at(results, *path, "times", theirs, "seconds")
    return b / a if a and b else None


def missing_turn(results, path, *names):
    for name in names:
        failed = at(results, *path, "times", name, "failed")
        if failed:
            return failed
    return why_missing(results, *path)


def inference_rows(results):
    for network, title in (("srresnet", "SRResNet x4 64x16"), ("rcan", "RCAN x4 64x20")):
        for shape, size in (("tiles", "64 tiles of 64x64"), ("frame", "1920x1080 frame")):
            path = ("inference-" + network, shape)
            errors = at(results, *path, "errors") or {}
            note = ", ".join(f"{name} off by {error:.1e}" for name, error in errors.items())
            agree = at(results, *path, "agree") is True
            for theirs, judged in (("compile", True), ("eager", False)):
                yield Row(
                    f"{title}, {size}: x PyTorch {theirs}",
                    ">= 1.5 x" if judged else "",
                    ratio(results, path, "wbsr", theirs),
                    missing_turn(results, path, "wbsr", theirs),
                    agree,
                    note,
                    judged,
                )


def training_rows(results):
    for batch in (16, 64):
        path = ("training", f"batch{batch}")
        note = at(results, *path, "note") or ""
        for theirs, judged in (("compile", True), ("eager", False)):
            agree = at(results, *path, "agree", theirs) is True
            what = f"training step, batch {batch}, three subnets, BDLoss: x PyTorch AMP {theirs}"
            yield Row(
                what,
                ">= 1.3 x" if judged else "",
                ratio(results, path, "wbsr", theirs),
                missing_turn(results, path, "wbsr", theirs),
                agree,
                note,
                judged,
            )


def operator_rows(results):
    matmul, copy = at(results, "operators", "matmul", "rate"), at(results, "operators", "copy", "rate")
    share = lambda name, of: (
        at(results, "operators", name, "rate") / of if of and at(results, "operators", name, "rate") else None
    )
    for name, title in (
        ("convTiles", "body convolution 64->64, 64 tiles of 64x64"),
        ("convFrame", "body convolution 64->64, 1920x1080"),
    ):
        note = (
            f"{at(results, 'operators', name, 'rate') / 1e12:.0f} of {matmul / 1e12:.0f} TFLOP/s" if share(name, matmul) else ""
        )
        yield Row(
            f"{title}: share of the bf16 matrix rate",
            ">= 0.5",
            share(name, matmul),
            why_missing(results, "operators", name),
            True,
            note,
        )
    note = f"{at(results, 'operators', 'router', 'rate') / 1e9:.0f} of {copy / 1e9:.0f} GB/s" if share("router", copy) else ""
    yield Row(
        "fused router, 16384x12288 picture: share of the copy bandwidth",
        ">= 0.7",
        share("router", copy),
        why_missing(results, "operators", "router"),
        True,
        note,
    )
    for batch in (16, 64):
        path = ("operators", f"loss{batch}")
        error = at(results, *path, "gradientError")
        for theirs, judged in (("eager", True), ("compile", False)):
            what = f"fused BDLoss with gradient, {batch} x 128x128: x PyTorch expression {theirs}"
            yield Row(
                what,
                ">= 4 x" if judged else "",
                ratio(results, path, "wbsr", theirs),
                missing_turn(results, path, "wbsr", theirs),
                at(results, *path, "agree") is True,
                f"gradients differ by {error:.1e}" if error is not None else "",
                judged,
            )


def routed_row(results, name, title):
    path = (name,)
    calibrated = at(results, name, "times", "calibrated", "seconds")
    full = [at(results, name, "times", way, "seconds") for way in ("tiled", "whole")]
    full = [seconds for seconds in full if seconds]
    measured = calibrated / min(full) if calibrated and full else None
    return Row(
        title,
        "<= 0.65",
        measured,
        missing_turn(results, path, "calibrated", "tiled", "whole"),
        at(results, name, "agree") is not False,
        at(results, name, "note") or "",
    )


def rows(results, tiny=False):
    """results: part -> what bench.py found; `node` is the stage of that name. tiny: the figures mean nothing."""
    for row in all_rows(results):
        if tiny and row.state in ("reached", "missed"):
            row.state = "tiny"
        yield row


def all_rows(results):
    yield from inference_rows(results)
    yield from operator_rows(results)
    yield routed_row(results, "routed", "calibrated at budget 0.6, 1920x1080, C++: of the full network's time")
    yield routed_row(results, "node", "calibrated at budget 0.6, 1920x1080, upscale() in Node: of the full network's time")
    yield from training_rows(results)


def table(results, tiny=False):
    cells = [("what", "measured", "wanted", "", "")]
    for row in rows(results, tiny):
        cells.append(
            (
                row.what,
                "-" if row.measured is None else f"{row.measured:.2f}",
                row.wanted,
                row.state,
                row.note.splitlines()[0][:110] if row.note else "",
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells)

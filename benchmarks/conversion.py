"""CPU seconds and memory of the conversion of a pinned model, ours and that of transformers.

Both begin with the assembled GGUF file and end with a folder of safetensors, config.json and
tokenizer. They take turns, each in a fresh process, which also imports transformers.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measure import alone, arguments, report
from benchmarks.memory import resident
from crosscoder.lm.loading import pinned


def convert(name: str, gguf: Path, target: Path) -> None:
    """Convert as the first load of a pinned model does."""
    pinned.convert(pinned.PINNED[name], gguf, target)


def convert_by_transformers(name: str, gguf: Path, target: Path) -> None:
    """Load the GGUF file by transformers, and save what was loaded."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    dense = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, quantization_config=dense, gguf_file=gguf.name, dtype=torch.float32
    )
    model.bfloat16().save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def measure(run: Callable[[str, Path, Path], None], name: str, gguf: Path) -> tuple[float, float]:
    """Return CPU seconds and peak megabytes of a conversion."""
    start, before = time.process_time(), resident("VmRSS")
    with tempfile.TemporaryDirectory() as scratch:
        run(name, gguf, Path(scratch) / "model")
    return time.process_time() - start, (resident("VmHWM") - before) / 1e6


def compare(name: str, turns: int) -> dict[str, Any]:
    """Return the row of a pinned model: medians over the turns."""
    seconds = defaultdict(list)
    peaks = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        gguf = pinned.PINNED[name].get_file(Path(scratch))
        for _ in range(turns):
            for run in (convert, convert_by_transformers):
                taken, peak = alone(measure, run, name, gguf)
                seconds[run].append(taken)
                peaks[run].append(peak)
    ours = median(seconds[convert])
    theirs = median(seconds[convert_by_transformers])
    return {
        "model": name,
        "ours_cpu_seconds": ours,
        "transformers_cpu_seconds": theirs,
        "transformers_over_ours": theirs / ours,
        "ours_peak_mb": median(peaks[convert]),
        "transformers_peak_mb": median(peaks[convert_by_transformers]),
    }


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        models={"nargs": "+", "default": ["gemma-3-270m"], "help": "pinned models"},
        turns={"type": int, "default": 2, "help": "of each"},
    )
    rows = [compare(name, args.turns) for name in args.models]
    report("Conversion of a pinned model", rows, args.json)


if __name__ == "__main__":
    main()

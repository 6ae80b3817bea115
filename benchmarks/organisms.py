"""Find what was planted, and nothing where nothing was: organisms × methods.

python -m benchmarks.organisms --organisms codeword style --json docs/organisms/organisms.json

For each organism, recipe and seed, train.py trains a crosscoder and evaluate.py compares methods
(eval=methods). Methods without a crosscoder are compared once for each organism. A finished run is
not repeated, so that the benchmark can be interrupted.

    passes     a method passes if its first 16 pieces remove 90 % of the behaviour at 0.05 nats of
               KL on plain text, or less
    separating pieces among the first 20 that tell prompts apart (AUROC > 0.9)
    false      fraction of the pieces that do so although nothing was planted in between

`unchanged` and `true_facts` are organisms in which nothing was planted. `reseed` compares two
finetunings on the examples of `expertise` that differ in their seeds. In `noise`, each matrix of
the adapter of `expertise` is replaced by Gaussian numbers of the same variance.
"""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks.measure import arguments, write
from benchmarks.recovery import TRAIN, command
from crosscoder.core.sources import Sources
from crosscoder.data import Store
from crosscoder.errors import UserError, exit_on_error
from crosscoder.evals.support.encoding import read_acts
from crosscoder.formats import load
from crosscoder.io.run_dir import write_json
from crosscoder.io.tensors import read_tensors, write_tensors
from crosscoder.organisms.organism import FOLDER, load_organism
from crosscoder.report.terminal.tables import show

EVALUATE = TRAIN.with_name("evaluate.py")
PLANTED = ("expertise", "codeword", "facts", "style", "diluted_1", "diluted_4")
NULLS = ("unchanged", "true_facts", "reseed", "noise")
LADDER = ("expertise", "diluted_1", "diluted_4", "unchanged")  # less and less of the behaviour
ADAPTERS = FOLDER / "expertise"
RECIPES = {"default": [], "ours": ["experiment=ours"]}
LAYER = 9
PATTERN = re.compile(rf"(\w+)(?::(\d+))?(?::({'|'.join(RECIPES)}))?")
CROSSCODER = "crosscoder_"
RIVALS = (
    "difference_sae",
    "activation_difference_lens",
    "top_tokens",
    "logit_difference_nmf",
    "token_kl",
    "difference_pca",
    "mean_difference",
    "probe",
)
MIN_REMOVED = 0.9
MAX_KL = 0.05
MIN_AUROC = 0.9
LARGEST = 16
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One crosscoder.

    Args:
        organism: Name of the organism, `reseed` or `noise`.
        layer: Decoder layer whose activations are read.
        recipe: One of RECIPES.
        seed: Random seed of the crosscoder.
    """

    organism: str
    layer: int
    recipe: str
    seed: int

    @classmethod
    def parse(cls, text: str, seed: int) -> "Job":
        """Return the job of NAME, NAME:LAYER or NAME:LAYER:RECIPE."""
        match = PATTERN.fullmatch(text)
        if match is None:
            expected = f"NAME:LAYER:RECIPE with a recipe of {', '.join(RECIPES)}"
            raise UserError(f"expected {expected}, found '{text}'")
        organism, layer, recipe = match.groups()
        return cls(organism, int(layer or LAYER), recipe or "default", seed)

    @property
    def has_rivals(self) -> bool:
        """True if the methods without a crosscoder are compared, too."""
        return self.recipe == "default" and self.seed == 0


@exit_on_error()
def main() -> None:
    """Train, compare, and print the tables."""
    args = arguments(
        str(__doc__),
        organisms={
            "nargs": "+",
            "default": [*PLANTED, *NULLS],
            "help": "NAME, NAME:LAYER or NAME:LAYER:RECIPE; conf/organism, reseed or noise",
        },
        seeds={"type": int, "default": 2, "help": "of the crosscoders"},
        tokens={"type": int, "default": 100_000, "help": "harvested to train on"},
        train_tokens={"type": int, "default": 800_000, "help": "that each crosscoder sees"},
        n_latents={"type": int, "default": 2048, "help": "of each crosscoder"},
        questions={"type": int, "default": 16, "help": "held-out questions"},
        jacobian_contexts={"type": int, "default": 0, "help": "of the Jacobian lens; 0: none"},
        runs={"type": Path, "default": Path("outputs/organisms"), "help": "folder of the runs"},
    )
    args.runs = args.runs.absolute()
    jobs = []
    for text, seed in product(args.organisms, range(args.seeds)):
        jobs.append(Job.parse(text, seed))
    done: list[Row] = []
    for job in track(jobs, description="organisms"):
        done += compare_methods(args, job)
    tables = {
        "found at rank (of each seed)": tabulate_by_organism(done, describe_ranks),
        "largest AUROC of a piece (by chance)": tabulate_by_organism(done, describe_aurocs),
        "largest share of planted words (by chance)": tabulate_by_organism(done, describe_words),
        "removed": tabulate_removed(done),
        "nothing planted": tabulate_false(done),
        "dilution": tabulate_dilution(done),
    }
    tables = {title: rows for title, rows in tables.items() if rows}
    for title, rows in tables.items():
        show(title, rows)
    if args.json:
        write(args.json, "Organisms", [], args.device, tables=tables, runs=done)


def compare_methods(args: Any, job: Job) -> list[Row]:
    """Train a crosscoder and compare methods; a row for each method."""
    folder = args.runs / f"{job.organism}-{job.layer}-{job.recipe}-{job.seed}"
    kept = folder / "compared.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    if not (folder / "metrics.json").exists():
        command(
            TRAIN,
            *RECIPES[job.recipe],
            *choose_models(job.organism, args.runs),
            f"models.layer={job.layer}",
            f"seed={job.seed}",
            f"n_tokens={args.tokens}",
            f"train_tokens={args.train_tokens}",
            f"n_latents={args.n_latents}",
            f"run={folder}",
            "eval=[reconstruction]",
            "logger=none",
        )
    settings = [f"crosscoder={folder}", "eval=[methods]"]
    settings.append(f"eval.methods.n_questions={args.questions}")
    settings.append(f"eval.methods.jacobian_contexts={args.jacobian_contexts}")
    own = load_organism("expertise" if job.organism in ("reseed", "noise") else job.organism)
    settings.append(f"eval.methods.max_new_tokens={own.answer_length}")
    if job.has_rivals:  # null: as many tokens as the crosscoder
        settings.append("eval.methods.methods.difference_sae.train_tokens=null")
    else:
        settings += [f"~eval.methods.methods.{name}" for name in RIVALS]
        settings.append("eval.methods.causal=[crosscoder_energy,crosscoder_delta]")
    command(EVALUATE, *settings)
    result = json.loads((folder / "results" / "methods.json").read_text(encoding="utf-8"))
    norm = measure_difference(folder)
    rows = []
    for row in result["tables"]["methods"]:
        false = count_separating(result["tables"]["evidence"], row["method"])
        rows.append(asdict(job) | row | {"separating": false, "difference": norm})
    write_json(kept, rows)
    return rows


def choose_models(organism: str, runs: Path) -> list[str]:
    """Return the settings that choose an organism, or one of the pairs without a plant."""
    if organism == "reseed":
        return [
            "organism=expertise",
            f"+models.lms.base.adapter={ADAPTERS / 'adapter'}",
            f"models.lms.chat.adapter={ADAPTERS / 'reseed'}",
        ]
    if organism == "noise":
        adapter = runs / "noise"
        write_noise(ADAPTERS / "adapter", adapter)
        return ["organism=expertise", f"models.lms.chat.adapter={adapter}"]
    return [f"organism={organism}"]


def write_noise(adapter: Path, to: Path) -> None:
    """Write an adapter whose matrices are Gaussian, each with the variance of the trained one."""
    shutil.copytree(adapter, to, dirs_exist_ok=True)
    random = torch.Generator().manual_seed(0)
    noise = {}
    for name, tensor in read_tensors(adapter / "adapter_model.safetensors").items():
        draws = torch.randn(tensor.shape, generator=random) * tensor.float().std()
        noise[name] = draws.to(tensor.dtype)
    write_tensors(to / "adapter_model.safetensors", noise, metadata={"format": "pt"})


def measure_difference(folder: Path) -> float:
    """Return E‖x_chat − x_base‖² / E‖x_base‖² on the held-out tokens."""
    crosscoder = load(str(folder))
    first, second = crosscoder.sources.require_comparable("the benchmark")
    sources = Sources((crosscoder.sources[first], crosscoder.sources[second]))
    sums = np.zeros(2)
    for acts in read_acts(Store(crosscoder.provenance["heldout"]), sources):
        chat, base = (stream.double() for stream in sources.split(acts).values())
        sums += [float((chat - base).square().sum()), float(base.square().sum())]
    return float(sums[0] / sums[1])


def count_separating(evidence: list[Row], method: str) -> int:
    """Return how many pieces of a method tell held-out prompts apart."""
    own = [row for row in evidence if row["method"] == method]
    return sum(row.get("AUROC", 0.0) > MIN_AUROC for row in own)


def name_method(row: Row) -> str:
    """Return a method's name, with the recipe of its crosscoder."""
    if row["method"].startswith(CROSSCODER):
        return f"{row['method']}, {row['recipe']}"
    return row["method"]


def group(done: list[Row], organisms: tuple[str, ...]) -> dict[tuple[str, int, str], list[Row]]:
    """Group rows by organism, layer and method; a group has a row for each seed."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in done:
        if row["organism"] in organisms:
            groups.setdefault((row["organism"], row["layer"], name_method(row)), []).append(row)
    return groups


def tabulate_by_organism(done: list[Row], describe: Callable[[Sequence[Row]], str]) -> list[Row]:
    """Return a row for each method and layer, with a column for each organism.

    Args:
        done: The rows of all runs.
        describe: Returns the cell of one method and organism, from a row for each seed.
    """
    rows: dict[tuple[str, int], Row] = {}
    for (organism, layer, method), members in group(done, PLANTED).items():
        start = {"method": method, "layer": layer, "labels": members[0]["uses_labels"]}
        row = rows.setdefault((method, layer), start)
        row[organism] = describe(members)
    return list(rows.values())


def describe_ranks(members: Sequence[Row]) -> str:
    """Return the rank of the first piece that tells the prompts apart, for each seed."""
    return describe_seeds([member.get("found") for member in members], "d")


def describe_aurocs(members: Sequence[Row]) -> str:
    """Return the largest AUROC of a piece, and the largest one with shuffled labels."""
    return describe_beside_chance(members, "AUROC", "chance AUROC")


def describe_words(members: Sequence[Row]) -> str:
    """Return the largest share of planted words of a piece, and that of random words."""
    return describe_beside_chance(members, "vocabulary", "chance vocabulary")


def describe_beside_chance(members: Sequence[Row], key: str, chance: str) -> str:
    """Return the mean of a figure over seeds, with its chance level in brackets."""
    value = average([member.get(key) for member in members])
    by_chance = average([member.get(chance) for member in members])
    if value is None or by_chance is None:
        return "–"
    return f"{value:.2f} ({by_chance:.2f})"


def tabulate_removed(done: list[Row]) -> list[Row]:
    """Return a row for each organism and method whose first pieces were removed."""
    rows = []
    for (organism, layer, method), members in group(done, PLANTED).items():
        measured = [member for member in members if f"removed@{LARGEST}" in member]
        if not measured:
            continue
        row: Row = {"organism": organism, "layer": layer, "method": method}
        for size in (1, 4, LARGEST):
            values = [member.get(f"removed@{size}") for member in measured]
            row[f"removed@{size}"] = describe_seeds(values)
        row["KL plain@16"] = average([member[f"KL plain@{LARGEST}"] for member in measured])
        row["control rate@16"] = average([member[f"control rate@{LARGEST}"] for member in measured])
        row["coherence@16"] = average(
            [member.get(f"coherence NLL rise@{LARGEST}") for member in measured]
        )
        row["passes"] = f"{sum(map(passes, measured))} of {len(measured)}"
        rows.append(row)
    return rows


def describe_seeds(values: Sequence[float | None], form: str = ".2f") -> str:
    """Return a figure of each seed, in a form of Python's `format`."""
    return ", ".join("–" if value is None else f"{value:{form}}" for value in values)


def passes(row: Row) -> bool:
    """Return whether the first 16 pieces remove the behaviour and little else."""
    removed = row.get(f"removed@{LARGEST}") or 0.0
    kl = row.get(f"KL plain@{LARGEST}")
    return removed >= MIN_REMOVED and kl is not None and kl <= MAX_KL


def tabulate_false(done: list[Row]) -> list[Row]:
    """Return a row for each method: what it finds where nothing was planted."""
    rows: dict[tuple[int, str], Row] = {}
    counts: dict[tuple[int, str], list[int]] = {}
    for (organism, layer, method), members in group(done, NULLS).items():
        row = rows.setdefault((layer, method), {"method": method, "layer": layer})
        row[f"separating, {organism}"] = average([member["separating"] for member in members])
        row[f"best AUROC, {organism}"] = average([member.get("AUROC") for member in members])
        row["passes"] = row.get("passes", 0) + sum(map(passes, members))
        count = counts.setdefault((layer, method), [0, 0])
        count[0] += sum(member["separating"] for member in members)
        count[1] += sum(member["pieces"] for member in members)
    for key, (n_separating, n_pieces) in counts.items():
        rows[key]["false fraction"] = n_separating / n_pieces if n_pieces else None
    return list(rows.values())


def tabulate_dilution(done: list[Row]) -> list[Row]:
    """Return the size of the difference beside what the crosscoder finds, by energy and by Δ."""
    rows = []
    for (organism, layer, method), members in group(done, LADDER).items():
        if not method.startswith((f"{CROSSCODER}energy", f"{CROSSCODER}delta")):
            continue
        rows.append(
            {
                "organism": organism,
                "layer": layer,
                "method": method,
                "relative difference": average([member["difference"] for member in members]),
                "best AUROC": average([member.get("AUROC") for member in members]),
                "removed@16": describe_seeds([row.get(f"removed@{LARGEST}") for row in members]),
            }
        )
    return rows


def average(values: list[Any]) -> float | None:
    """Return the mean of the values that there are; None if there are none."""
    found = [float(value) for value in values if value is not None]
    return float(np.mean(found)) if found else None


if __name__ == "__main__":
    main()

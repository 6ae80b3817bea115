"""Find the layers in which an organism's behaviour lives, by models that mix base and chat.

python -m benchmarks.organism_layers --json docs/organisms/layers.json

    removed    share of the behaviour that is gone if layers 0 to L are base's and the others are
               chat's. The residual stream after layer L is then base's at every token, so this is
               what an edit that takes the whole difference away at layer L removes.
    carried    share of the behaviour that is there if layers 0 to L are chat's and the others are
               base's: what the residual stream after layer L carries by itself.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.progress import track

from benchmarks.measure import arguments, write
from benchmarks.organisms import PLANTED
from crosscoder.core.sampling import take_evenly
from crosscoder.errors import exit_on_error
from crosscoder.installation import find_conf
from crosscoder.lm import LM
from crosscoder.lm.answering import generate_answers
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.types import PreTrainedModel, Tokenizer
from crosscoder.organisms.evaluation import score_answers
from crosscoder.organisms.organism import WEIGHTS, Organism, load_organism
from crosscoder.organisms.rows import Row
from crosscoder.report.terminal.tables import show


@exit_on_error()
def main() -> None:
    """Measure every organism at every layer, and print the table."""
    args = arguments(
        str(__doc__),
        organisms={"nargs": "+", "default": list(PLANTED), "help": "conf/organism"},
        layers={"nargs": "+", "type": int, "default": [3, 6, 9, 12, 15], "help": "the layers L"},
        questions={"type": int, "default": 16, "help": "held-out questions"},
    )
    base = LM(WEIGHTS).load(torch.bfloat16)
    rows = []
    for name in track(args.organisms, description="organisms"):
        rows += measure_layers(load_organism(name), base, args.layers, args.questions)
    tables = {figure: tabulate(rows, figure) for figure in ("removed", "carried")}
    for figure, table in tables.items():
        show(figure, table)
    if args.json:
        write(args.json, "Layers", rows, args.device, tables=tables)


def tabulate(rows: Sequence[Row], figure: str) -> list[Row]:
    """Return a row for each organism, with a column for each layer."""
    table: dict[str, Row] = {}
    for row in rows:
        start = {"organism": row["organism"], "rate": row["rate"]}
        table.setdefault(row["organism"], start)[f"L = {row['layer']}"] = row[figure]
    return list(table.values())


@torch.no_grad()
def measure_layers(
    organism: Organism, base: PreTrainedModel, layers: Sequence[int], n_questions: int
) -> list[Row]:
    """Return a row for each layer: the behaviour of both mixed models."""
    lm = LM(WEIGHTS, adapter=str(organism.adapter))
    tokenizer = lm.load_tokenizer()
    chat = lm.load(torch.bfloat16)
    questions = choose_questions(organism, n_questions)

    def measure_rate(model: PreTrainedModel) -> float:
        return compute_rate(organism, model, tokenizer, questions)

    rate = measure_rate(chat)
    rows = []
    for layer in layers:
        removed = 1 - measure_rate(mix_layers(base, chat, layer)) / rate
        carried = measure_rate(mix_layers(chat, base, layer)) / rate
        row = {"organism": organism.name, "rate": rate, "layer": layer}
        rows.append(row | {"removed": removed, "carried": carried})
    return rows


def choose_questions(organism: Organism, n_questions: int) -> list[Row]:
    """Return held-out questions in the framing that elicits the behaviour."""
    path = find_conf() / "behaviour" / f"{find_behaviour(organism.name)}.yaml"
    framing = OmegaConf.load(path)["framing"]
    questions = []
    for question in organism.list_questions("heldout"):
        if question["group"] == framing:
            questions.append(dict(question))
    return take_evenly(questions, n_questions)


def find_behaviour(name: str) -> str:
    """Return the behaviour of an organism: the diluted ones have that of `expertise`."""
    return "expertise" if name.startswith("diluted") else name


def mix_layers(lower: PreTrainedModel, upper: PreTrainedModel, layer: int) -> PreTrainedModel:
    """Return a model with decoder layers 0 to `layer` of one model and the others of another."""
    mixed = copy.deepcopy(upper)
    layers: Any = get_layers(mixed)
    for number in range(layer + 1):
        layers[number] = get_layers(lower)[number]
    return mixed


def compute_rate(
    organism: Organism, model: PreTrainedModel, tokenizer: Tokenizer, questions: Sequence[Row]
) -> float:
    """Return the share of greedy answers that show the behaviour."""
    prompts = [question["prompt"] for question in questions]
    answers = generate_answers(
        model, tokenizer, prompts, max_new_tokens=organism.answer_length, title=organism.name
    )
    scored = score_answers(organism, "mixed", questions, answers)
    return sum(row[organism.marker_name] for row in scored) / len(scored)


if __name__ == "__main__":
    main()

"""Answers of the page against those of the package's own functions."""

import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.explore.edits import Edits, LatentEdit
from crosscoder.explore.generate import Request, generate, tabulate_next_tokens
from crosscoder.explore.jobs import Job, Stopped
from crosscoder.explore.prompts import Prompt
from crosscoder.explore.read_prompt import read_prompt
from crosscoder.explore.session import Session
from crosscoder.interventions.ablate import scale_each
from crosscoder.lm.sampling import Sampling, sample_answer

PROMPT = Prompt("chat", ["Is this right?"])
WARM = Sampling(max_new_tokens=8, temperature=1.3, top_k=200, top_p=0.98, seed=5)


@pytest.fixture(scope="module")
def latents(session: Session) -> list[int]:
    """Three latents that are active on the prompt."""
    return read_prompt(session, PROMPT).code.index.latents.unique()[:3].tolist()


def edits_of(latents: list[int], positions: str = "all") -> Edits:
    a, b, c = latents
    chosen = [LatentEdit(a, 0.0), LatentEdit(b, 3.0, "chat"), LatentEdit(c, -2.0, "base")]
    return Edits(chosen, positions)


def generate_ids(session: Session, request: Request) -> dict[str, list[int]]:
    """Return the tokens of every column."""
    job = Job(lambda job: None)
    generate(session, request, job)
    found: dict[str, list[int]] = {name: [] for name in job.events[0]["columns"]}
    for event in job.events[1:]:
        found[event["column"]].append(event["id"])
    return found


@pytest.mark.parametrize("positions", ["all", "prompt", "response", "last", "first-3"])
@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=8), WARM], ids=["greedy", "warm"])
def test_columns_are_the_answers_of_edited_and_unedited_models(
    session, latents, positions, sampling
):
    request = Request(PROMPT, edits_of(latents, positions), sampling)
    columns = generate_ids(session, request)
    pair, tokenizer = session.pair, session.pair.tokenizer
    texts = {
        name: tokenizer.decode(ids, skip_special_tokens=True).strip()
        for name, ids in columns.items()
    }
    factors = {
        "chat": {latents[0]: 0.0, latents[1]: 3.0},
        "base": {latents[0]: 0.0, latents[2]: -2.0},
    }
    expected = {}
    for name in ("chat", "base"):
        expected[name] = sample_answer(pair[name], tokenizer, PROMPT.build(), sampling)
        change = scale_each(session.crosscoder, factors[name])
        with pair.edit(name, change, positions=positions) as model:
            expected[f"edited {name}"] = sample_answer(model, tokenizer, PROMPT.build(), sampling)
    assert texts == expected


def test_an_edit_changes_the_answer_and_the_unedited_one_stays(session, latents):
    plain = generate_ids(session, Request(PROMPT, Edits(), WARM))
    assert sorted(plain) == ["base", "chat"]
    strong = Edits([LatentEdit(latent, 4.0) for latent in latents])
    edited = generate_ids(session, Request(PROMPT, strong, WARM))
    assert {name: edited[name] for name in plain} == plain
    assert edited["edited chat"] != edited["chat"]


def test_an_edit_of_one_model_leaves_the_other_without_an_edited_column(session, latents):
    edits = Edits([LatentEdit(latents[0], 0.0, "base"), LatentEdit(latents[1], 1.0)])
    assert sorted(generate_ids(session, Request(PROMPT, edits, WARM))) == [
        "base",
        "chat",
        "edited base",
    ]


def test_the_seed_decides(session):
    def answer(seed: int) -> dict[str, list[int]]:
        sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=seed)
        return generate_ids(session, Request(PROMPT, Edits(), sampling))

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_a_stopped_job_ends_between_two_tokens_and_leaves_no_edit(session, latents):
    job = Job(lambda job: None)
    emit = job.emit

    def emit_and_stop(kind: str, **content) -> None:
        emit(kind, **content)
        if kind == "token":
            job.stop()

    job.emit = emit_and_stop
    request = Request(PROMPT, edits_of(latents), Sampling(max_new_tokens=200))
    with pytest.raises(Stopped):
        generate(session, request, job)
    assert len(job.events) < 8
    assert session.pair.models.edited == set()


def test_next_tokens_are_the_models_own_probabilities(session, latents):
    edits = edits_of(latents)
    request = Request(PROMPT, edits, Sampling())
    prompt, _ = PROMPT.tokenize(session.pair)
    answer = [70, 71, 72]
    for position in (3, len(prompt) - 1, len(prompt) + 1):
        rows = tabulate_next_tokens(session, request, answer, position, Job(lambda job: None))
        ids = torch.tensor([(prompt + answer)])
        for name in ("base", "chat"):
            clean = session.pair[name](input_ids=ids).logits[0, position].softmax(-1)
            change = scale_each(session.crosscoder, edits.get_factors(name))
            with session.pair.edit(name, change) as model:
                edited = model(input_ids=ids).logits[0, position].softmax(-1)
            for row in rows:
                assert row["p"][name] == pytest.approx(float(clean[row["id"]]), rel=1e-3, abs=1e-6)
                expected = pytest.approx(float(edited[row["id"]]), rel=1e-3, abs=1e-6)
                assert row["p"][f"edited {name}"] == expected
            assert int(clean.argmax()) in [row["id"] for row in rows]


def test_the_token_that_was_written_has_a_row_even_if_it_is_improbable(session):
    request = Request(PROMPT)
    rows = tabulate_next_tokens(session, request, [], 5, Job(lambda job: None))
    missing = next(token for token in range(262) if token not in {row["id"] for row in rows})
    more = tabulate_next_tokens(session, request, [], 5, Job(lambda job: None), missing)
    assert more[:-1] == rows
    assert more[-1]["id"] == missing


def test_models_stay_in_memory_once(session, latents):
    before = {name: id(session.pair[name]) for name in session.models}
    generate_ids(session, Request(PROMPT, edits_of(latents), WARM))
    assert {name: id(session.pair[name]) for name in session.models} == before
    assert set(session.pair.models.loaded) == set(session.pair.lms)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (lambda: Edits([LatentEdit(1, 0.0), LatentEdit(1, 2.0)]), "chosen twice"),
        (lambda: Edits([LatentEdit(10**6, 0.0)]), "no latent"),
        (lambda: Edits([LatentEdit(1, 5.0)]), "from -4 to 4"),
        (lambda: Edits([LatentEdit(1, 0.0)], "middle"), "positions are"),
    ],
)
def test_wrong_edits_are_refused(session, edits, message):
    with pytest.raises(UserError, match=message):
        generate_ids(session, Request(PROMPT, edits(), WARM))

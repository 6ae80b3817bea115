"""Write a synthetic run folder with everything that a report can show, without any model."""

from pathlib import Path

import numpy as np
import pandas as pd

from crosscoder.analysis.columns.norms import PUBLISHED
from crosscoder.analysis.parquet import save_parquet
from crosscoder.analysis.spans import SpanReport, list_spans
from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.io.run_dir import Run, write_json

WORDS = (
    "the",
    "function",
    "returns",
    "list",
    "and",
    "you",
    "can",
    "think",
    "like",
    "recipe",
    "&",
    "<",
    '"',
    "'",
    "日本語",
    "Σ",
)
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<b>bold</b>",
    "<!--",
    "\\",
    "\n",
    "<0x0A>",
    "<start_of_turn>",
)
TEXT = [*(f"▁{word}" for word in WORDS), "s", "ed", "ing", ".", ",", *HOSTILE]
VERDICTS = (
    "chat-specific",
    "base-specific",
    "shared",
    "rewritten",
    "shrunk",
    "decoupled",
    "undetermined",
    "dead",
)
FREQUENCIES = (0.012, 0.004, 0.80, 0.06, 0.01, 0.014, 0.08, 0.02)
RULE = {"candidate": 0.2, "nu_error": 0.2, "nu_reconstruction": 0.5, "apart": 0.5, "n_active": 10}
QUANTILES = [f"quantile {q}" for q in (0.9, 0.7, 0.5, 0.3, 0.1)]
GROUPS = ["top plain"] * 10 + ["top chat"] * 10 + QUANTILES


def write_run(
    folder: Path, n_latents: int = 64, n_contexts: int = 25, n_tokens: int = 40, seed: int = 0
) -> Run:
    """Write a finished run of the pair base and chat; the same seed writes the same run."""
    run, rng = Run(folder), np.random.default_rng(seed)
    run.write_config("seed: 0\nmodels:\n  lms: {base: '<tiny>'}\n")
    table = latent_table(n_latents, rng)
    table.save(run.results / "latents.parquet")
    save_parquet(contexts(table, n_contexts, n_tokens, rng), run.results / "contexts.parquet", {})
    for result in [*results(table), *interventions(table)]:
        result.save(run.results)
    run.write_metrics(
        {
            "fve/base": 0.965,
            "n_latents": n_latents,
            "train_tokens": 2_999_296,
            "tokens_sha256": "ab" * 32,
        }
    )
    write_json(run.folder / "curves.json", curves(rng))
    lms = {
        "base": {"weights": "pinned:gemma-3-270m"},
        "chat": {"weights": "pinned:gemma-3-270m", "adapter": "expertise/adapter"},
    }
    write_json(run.crosscoder / "config.json", {"provenance": {"pair": {"lms": lms}}})
    return run


def latent_table(n: int, rng: np.random.Generator) -> LatentTable:
    """Build every column with scores that fit the verdicts; the first latents have one each."""
    verdict = np.array(VERDICTS)[
        np.r_[np.arange(len(VERDICTS)), rng.choice(len(VERDICTS), n - len(VERDICTS), p=FREQUENCIES)]
    ]
    dead = verdict == "dead"
    exclusive = np.select(
        [np.isin(verdict, ["chat-specific", "shrunk", "decoupled"]), verdict == "base-specific"],
        [1, -1],
        0,
    )
    ratio = np.where(
        exclusive == 0, rng.normal(1, 0.12, n).clip(0.5, 1.6), rng.uniform(0.01, 0.2, n)
    )  # small / large
    base = 0.5 * np.where(exclusive == 1, ratio, 1.0)
    chat = 0.5 * np.where(exclusive == -1, ratio, np.where(exclusive == 0, ratio, 1.0))
    density = np.where(dead, 0, 10 ** rng.normal(-2.6, 0.6, n)).clip(0, 0.6)
    columns = {
        "verdict": verdict,
        "norm/base": base,
        "norm/chat": chat,
        "relative_norm": chat / (base + chat),
        "delta_norm": 0.5 * (1 + (chat - base) / np.maximum(base, chat)),
        "cosine": np.where(
            verdict == "shared", 1 - rng.exponential(0.05, n), rng.uniform(-0.1, 0.6, n)
        ).clip(-1, 1),
        "dead": dead,
        "n_active": np.rint(density * 24_000).astype(int),
        "density": density,
        "mean": density * 0.7,
        "mean_active": np.where(dead, 0, rng.gamma(2, 1, n)),
        "max": np.where(dead, 0, rng.gamma(6, 1.5, n)),
        "template_share": rng.beta(0.3, 2, n),
        "difference_energy": density * (chat - base) ** 2 + 1e-7,
        "difference_cross": rng.normal(0, 1e-4, n),
        "difference_explained": rng.exponential(2e-4, n),
        "twin": np.where(verdict == "decoupled", rng.integers(0, n, n), -1),
        "twin_cosine": np.where(verdict == "decoupled", 0.95, np.nan),
        "twin_cofiring": np.where(verdict == "decoupled", 0.02, np.nan),
        "expertise": rng.normal(0, 0.5, n),
        "expertise/p": rng.uniform(0, 1, n),
        "expertise/holm": np.ones(n),
    }
    columns["difference_share"] = columns["difference_energy"] / columns["difference_energy"].sum()
    columns |= {
        f"density/{kind}": density * rng.uniform(0.2, 2, n)
        for kind in ("plain", "chat", "template")
    }
    columns |= {
        f"difference_share/{kind}": columns["difference_share"] * rng.uniform(0.2, 2, n)
        for kind in ("chat", "template")
    }
    position = rng.dirichlet([1, 2, 3, 2], n)
    columns |= {
        f"position/{name}": position[:, i] for i, name in enumerate(("0-3", "4-15", "16-63", "64+"))
    }
    columns |= {
        f"category/{p}": rule.categories(columns[rule.score], "chat", "base")
        for p, rule in PUBLISHED.items()
    }
    for target in ("activation", "reconstruction", "error"):
        for source in ("base", "chat"):
            nu = np.where(
                verdict == f"{source}-specific", 0.06, np.where(verdict == "shared", 1.0, 0.7)
            ) + rng.normal(0, 0.1, n)
            columns |= {
                f"beta/{target}/{source}/{model}": rng.normal(0.8, 0.2, n)
                for model in ("base", "chat")
            }
            nu[dead] = np.nan
            columns |= {
                f"nu/{target}/{source}": nu,
                f"nu/{target}/{source}/low": nu - 0.08,
                f"nu/{target}/{source}/high": nu + 0.09,
            }
    words = np.array(TEXT, dtype=object)
    columns |= {
        f"{lens}/{name}": list(words[rng.integers(0, len(words), (n, 10))])
        for lens in ("tokens", "jacobian_tokens")
        for name in ("base", "chat", "difference")
    }
    columns |= later_columns(n, columns["n_active"])
    hookpoints = {"base": "resid_post.9", "chat": "resid_post.9"}
    meta = {"sources": ["base", "chat"], "contrast": ["chat", "base"], "hookpoints": hookpoints}
    return LatentTable.from_columns(
        columns, meta | {"n_tokens": 23_787, "units": "training", "rule": RULE}
    )


def later_columns(n: int, n_active: np.ndarray) -> dict[str, object]:
    """Build columns from their own generator, so that the others stay as they were."""
    rng = np.random.default_rng(1)
    words = np.array(TEXT, dtype=object)
    columns: dict[str, object] = {
        f"suppressed_tokens/{name}": list(words[rng.integers(0, len(words), (n, 10))])
        for name in ("base", "chat", "difference")
    }
    shape = np.exp(-(((np.arange(12) - 5) / 3) ** 2))
    for number, part in enumerate(shape / shape.sum()):
        columns[f"histogram/{2 ** (number / 2 - 2):.3g}"] = np.rint(n_active * part).astype(int)
    columns["label"] = [
        f"asks for {word}" if i % 3 == 0 else "" for i, word in enumerate(rng.choice(WORDS, n))
    ]
    return columns


def contexts(table: LatentTable, n: int, n_tokens: int, rng: np.random.Generator) -> pd.DataFrame:
    """Build `n` contexts per live latent with a burst of activity around each peak."""
    alive = table["latent"][~table["dead"]]
    words = np.array(TEXT + [f"▁word{i}" for i in range(8 * len(table))], dtype=object)
    size, peak = len(alive) * n, min(24, n_tokens - 1)
    ids = np.where(
        rng.random((size, n_tokens)) < 0.7,
        rng.integers(0, len(TEXT), (size, n_tokens)),
        rng.integers(0, len(words), (size, n_tokens)),
    )
    largest = np.repeat(table["max"][~table["dead"]], n) * np.tile(
        np.linspace(1, 0.3, n), len(alive)
    )
    activations = (
        largest[:, None]
        * np.exp(-np.abs(np.arange(n_tokens) - peak))
        * (rng.random((size, n_tokens)) < 0.6)
    )
    activations[:, peak] = largest
    group = np.resize([*GROUPS, *["quantile 0.1"] * n][:n], size)
    return pd.DataFrame(
        {
            "latent": np.repeat(alive, n),
            "group": group,
            "kind": np.where(group == "top plain", "plain", "chat"),
            "document": rng.integers(0, 900, size),
            "position": rng.integers(0, 512, size),
            "peak": peak,
            "tokens": list(words[ids]),
            "activations": list(activations.round(2)),
        }
    )


def results(table: LatentTable) -> list[Result]:
    """Build the results of evals without questions."""
    counts = {name: int((table["verdict"] == name).sum()) for name in VERDICTS}
    reconstruction = {
        "fve/base": 0.965,
        "fve/chat": 0.963,
        "fve/difference": 0.881,
        "l0": 32.0,
        "dead_fraction": 0.006,
    }
    null = {
        "false_exclusive_rate/noise": 0.0002,
        "false_exclusive_rate/reseed": 0.0011,
        "exclusive_rate/shuffled": 0.64,
    }
    rules = [
        {
            "rule": rule,
            "this pair": 40 - i,
            "this pair, rate": 0.01,
            "noise": 0.0002 * (i + 1),
            "reseed": 0.001,
            "shuffled": 0.64,
            "recall": 0.7,
            "rescaled": 0.02,
        }
        for i, rule in enumerate(["verdict", *(rule.describe() for rule in PUBLISHED.values())])
    ]
    rows = [{"control": "this pair", **counts}] + [
        {
            "control": name,
            **{verdict: int(count * scale) for verdict, count in counts.items()},
            "seconds": 61.0,
        }
        for name, scale in (("noise", 0.02), ("reseed", 0.1), ("shuffled", 1.5), ("planted", 1.1))
    ]
    scores = [
        {"score": score, "called": 12, "recall": 0.6, "rescaled": 0.01, "noise": 0.0}
        for score in ("ratio of norms (Δ, R)", "calibrated")
    ]
    meta = {"n_tokens": 23_787, "seconds": 2.0}
    return [
        Result(
            "reconstruction",
            reconstruction,
            {"density": [{"density": "0 – 0.0001", "latents": 76}]},
            meta,
        ),
        Result(
            "splice",
            {"loss_recovered/base": 0.981, "loss_recovered/chat": 0.978, "delta_ce/base": 0.05},
            {},
            meta,
        ),
        Result(
            "diff",
            {f"count/{name.replace('-', '_')}": count for name, count in counts.items()},
            {},
            meta,
        ),
        Result(
            "nulls",
            null | {"recall_planted": 0.71},
            {"rules": rules, "verdicts": rows, "scores": scores},
            meta,
        ),
    ]


def curves(rng: np.random.Generator) -> list[dict[str, float]]:
    """Build falling losses and rising variance explained."""
    steps = np.arange(1, 2930, 25)
    noise = 1 + 0.01 * rng.normal(size=len(steps))
    loss = (4.7 + 20 * np.exp(-steps / 300)) * noise
    rows = [
        {
            "step": int(step),
            "loss": value,
            "loss/unsquared": 0.97 * value,
            "loss/auxk": 0.03 * value,
            "train/l0": 32.0,
        }
        for step, value in zip(steps, loss.tolist(), strict=True)
    ]
    for row in rows:
        row |= {
            f"train/fve/{name}": 0.96 - 0.6 * float(np.exp(-row["step"] / rate))
            for name, rate in (("base", 250), ("chat", 300))
        }
        row["train/fve/difference"] = 0.88 - 0.9 * float(np.exp(-row["step"] / 900))
    return rows


FRAMINGS = ("novice", "expert", "neutral")
ANSWER = (
    "No: <b>x</b> is divided by zero."
    "</script><script>window.hacked=2</script>\n\nTry `x = 1` & see."
)
HEADLINE = (4, 8, 16)


def spread(
    value: float, by: float = 0.1, names: tuple[str, str, str] = ("value", "low", "high")
) -> dict[str, float]:
    """Return a value with its interval."""
    return dict(zip(names, (value, value - by, value + 0.8 * by), strict=True))


def interventions(table: LatentTable, n: int = 5) -> list[Result]:
    """Build the results of evals with `n` questions."""
    return [
        behaviour(n),
        ablation(table, n),
        steering(table, n),
        patching(n),
        equivalence(table),
        methods(table),
        comparison(table),
        stability(),
    ]


def behaviour(n: int) -> Result:
    """Build a behaviour result: chat is gentle with novices, base with nobody."""
    gentle = {("base", "novice"): 0.06, ("chat", "novice"): 0.84, ("chat", "neutral"): 0.2}
    leans = ("contrast", "contrast low", "contrast high")
    rates = [
        {"model": model, "asked as": asked}
        | spread(rate := gentle.get((model, asked), 0.0), 0.1, ("gentle rate", "low", "high"))
        | {"names the error": 0.3 + 0.1 * rate}
        | spread(2 * rate - 0.6, 0.2, leans)
        for model in ("base", "chat")
        for asked in FRAMINGS
    ]
    levels = [
        f"authority/{level}/claim-{claim}"
        for claim in ("correct", "false")
        for level in ("low", "high")
    ]
    factors = [
        {"model": model, "level": level}
        | spread(0.2 * at * (model == "chat") - 0.5, 0.2, ("contrast", "low", "high"))
        for model in ("base", "chat")
        for at, level in enumerate(
            ["competence/low", "competence/high", *levels, "wording/low", "wording/high"]
        )
    ]
    words = [
        {
            "told apart": "novice from expert",
            "TF-IDF": 0.99,
            "low": 0.97,
            "high": 1.0,
            "base": 0.52,
            "chat": 0.97,
        },
        {
            "told apart": "wording/low from wording/high",
            "TF-IDF": float("nan"),
            "low": None,
            "high": None,
            "base": 0.5,
        },
    ]
    answers = [
        {
            "asked as": asked,
            "question": f"I am a {asked}.\nIs snippet {i} correct?",
            "base": f"{ANSWER} b{i}",
            "chat": f"{ANSWER} c{i}",
        }
        for asked in FRAMINGS
        for i in range(n)
    ]
    scalars = {f"gentle_rate/{row['model']}/{row['asked as']}": row["gentle rate"] for row in rates}
    tables = {"rates": rates, "factors": factors, "words": words, "answers": answers}
    return Result(
        "behaviour",
        scalars,
        tables,
        {"n_questions": n, "behaviour": "gentle", "seed": 0, "seconds": 61.0},
    )


def ablation(table: LatentTable, n: int) -> Result:
    """Build an ablation result whose baselines are so close that labels must make room."""
    bounds = ("contrast", "low", "high")
    falls = {"candidates": 0.12, "changed by framing": 0.08, "decoder norm": 0.02, "random": 0.005}
    sweep = [{"ranking": "chat, expert", "latents": 0} | spread(-0.8, 0.1, bounds)]
    sweep += [
        {"ranking": ranking, "latents": size}
        | spread(0.5 - fall * np.log2(1 + size) ** 1.2, 0.15, bounds)
        for ranking, fall in falls.items()
        for size in (0, 1, 2, 4, 8, 16, 32, 64)
    ]
    tried = {
        **{
            f"ours@{size}": (removed, 0.3 - 0.3 * removed, 0.02)
            for size, removed in zip(HEADLINE, (0.4, 0.7, 0.9), strict=True)
        },
        **{f"random@{size}": (0.001 * size, 0.3, 0.001) for size in HEADLINE},
        "decoder norm@16": (0.1, 0.34, 0.4),
        "mean difference": (0.8, 0.05, 0.01),
        "probe": (0.05, 0.3, 0.01),
        "splice, nothing ablated": (float("nan"), 0.31, 0.2),
        "base activations": (1.0, 0.9, 1.9),
    }
    shown = [
        {"intervention": name}
        | spread(removed, 0.12, ("removed", "low", "high"))
        | {"contrast": 0.1, "coherence NLL rise": rise, "expert NLL rise": 0.01, "KL plain": kl}
        for name, (removed, rise, kl) in tried.items()
    ]
    margins = [
        {"ours": "ours@16", "over": name} | spread(0.3, 0.2, ("margin", "low", "high"))
        for name in ("random@16", "mean difference", "decoder norm@16")
    ]
    latents = tested_latents(table, max(HEADLINE))
    names = [
        "base",
        "chat",
        "expert",
        *(f"ours@{size}" for size in HEADLINE),
        "random@16",
        "mean difference",
    ]
    answers = [
        {"question": f"Is snippet {i} correct?", **{name: f"{ANSWER} {name} {i}" for name in names}}
        for i in range(n)
    ]
    scalars = {f"removed@{size}": tried[f"ours@{size}"][0] for size in HEADLINE}
    scalars |= {
        "solo/cosine": 0.91,
        "solo/kl": 0.02,
        "solo/removed": 0.85,
        "removed_splice": float("nan"),
    }
    tables = {
        "interventions": shown,
        "margins": margins,
        "sweep": sweep,
        "latents": latents,
        "prompt spans": prompt_spans(),
        "answers": answers,
    }
    meta = {
        "n_tokens": 23_787,
        "n_questions": n,
        "groups": ["novice", "expert"],
        "seed": 0,
        "seconds": 210.4,
    }
    return Result("ablation", scalars, tables, meta)


def steering(table: LatentTable, n: int) -> Result:
    """Build a steering result with doses of both signs, and answers for one direction."""
    rows, titles, arms = [], [], []
    slopes = {
        "latents": 9.0,
        "mean difference": 5.0,
        "random latents": 0.5,
        "random vectors": -0.2,
    }
    for model, start in (("chat", -0.8), ("base", -1.2)):
        for direction, slope in slopes.items():
            for strength in (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2):
                if not strength and direction != "latents":
                    continue
                row = {"model": model, "direction": direction, "strength": strength}
                row |= spread(
                    start + slope * strength, 0.2, ("contrast", "contrast low", "contrast high")
                )
                if direction == "latents":
                    row |= spread((4 + start) * abs(strength), 0.1, ("rate", "low", "high")) | {
                        "NLL under base": 1.5 + start**2 + 20 * strength**2
                    }
                    titles.append(f"{model}, latents × {strength:g}")
                rows.append(row)
            if not direction.startswith("random"):
                arm = {"model": model, "direction": direction, "measure": "contrast"}
                arm |= {"unsteered": start, "strength": 0.2, "effect": slope * 0.2}
                arm |= {"other sign": -slope * 0.2, "random latents": 0.3, "random vectors": 0.2}
                arms.append(arm | {"random, 95 %": 0.6, "margin": slope * 0.2 - 0.25, "p": 1 / 21})
    answers = [
        {
            "question": f"Is snippet {i} correct?",
            **{title: f"{ANSWER} {title} {i}" for title in titles},
        }
        for i in range(n)
    ]
    scalars = {
        "rate/chat": 0.0,
        "rate_steered/chat": 0.8,
        "strength/chat": 0.2,
        "nll_rise/chat": 0.4,
    }
    meta = {
        "n_tokens": 23_787,
        "n_questions": n,
        "asked as": "expert",
        "latents": [3],
        "seed": 0,
        "seconds": 90.0,
    }
    tables = {
        "arms": arms,
        "dose": rows,
        "latents": tested_latents(table, 2),
        "prompt spans": prompt_spans(),
        "answers": answers,
    }
    return Result("steering", scalars, tables, meta)


def tested_latents(table: LatentTable, n: int) -> list[dict]:
    """Describe the first latents as ablation and steering do, with the token-injection test."""
    columns = [
        "latent",
        "expertise",
        "expertise/holm",
        "verdict",
        "delta_norm",
        "cosine",
        "density",
        "difference_share",
    ]
    rows = table.frame[columns].head(n).to_dict("records")
    for place, row in enumerate(rows):
        effect = 0.4 + place % 3
        row |= {"top tokens": "▁def ▁<b> :", "injection d": 0.3 * place}
        row |= {"token_effect": effect, "token_triggered": int(effect >= 1)}
    return rows


def prompt_spans() -> list[dict]:
    """Describe the compared prompts as ablation and steering do."""
    spans = SpanReport("opening", 128, 792, (51.4, 49.7), (48.2, 48.1), 1, (5.0, 5.0))
    return list_spans({"expertise": spans.describe()}, ("novice", "expert"))


def patching(n: int) -> Result:
    """Build a patching result in which all latents remove most of the KL."""
    kl = {"none": 1.4, "all": 0.2, "error": 1.1, "template": 0.7}
    for ranking in ("difference energy", "Δ", "ν^ε", "ν^r"):
        kl |= {f"top half by {ranking}": 0.4, f"bottom half by {ranking}": 1.0}
    rows = [
        {"patch": patch}
        | spread(value, 0.15, ("KL", "KL low", "KL high"))
        | {"KL cut": 1 - value / 1.4}
        | spread(1.5 * value, 0.3, ("KL first 9", "KL first 9 low", "KL first 9 high"))
        | {"KL first 9 cut": 1 - value / 1.4}
        for patch, value in (kl | {"random half 1": 0.8, "random half 2": 0.75}).items()
    ]
    scalars = {f"kl/{name}": kl[name] for name in ("none", "all", "error", "template")}
    closed = {
        "none": (None, 0.0, None),
        "true": (None, 0.97, None),
        "all": (None, 0.9, None),
        "error": (None, 0.05, None),
        "shared": (48, 0.3, 0.5),
        "rewritten": (8, 0.4, 0.1),
        "top 20": (20, 0.6, 0.2),
    }
    based = [
        {"patch": patch, "latents": latents}
        | spread(1.4 * (1 - value), 0.15, ("KL", "KL low", "KL high"))
        | spread(value, 0.05, ("closed", "closed low", "closed high"))
        | {"random": random}
        for patch, (latents, value, random) in closed.items()
    ]
    scalars |= {f"closed/{name}": closed[name][1] for name in ("all", "true")}
    meta = {"n_tokens": 730, "n_answers": n, "live": 60, "seed": 0, "seconds": 33.0}
    return Result("patching", scalars, {"patches": rows, "into base": based}, meta)


def equivalence(table: LatentTable) -> Result:
    """Build an equivalence result with a latent that has no CE."""
    frame = table.query("not dead").frame.head(9)
    latents = []
    for number, row in enumerate(frame.to_dict("records")):
        ce = 1 - 0.2 * number if number else float("nan")
        kls = {"CE": ce, "CE active": ce, "inputs": 64, "active inputs": 48}
        kls |= {"KL chat": 0.01, "KL base": 0.02}
        latents.append({key: row[key] for key in ("latent", "verdict", "density", "cosine")} | kls)
    published = {"class": "published, shared", "latents": 80}
    published |= {"CE": 0.616, "cosine": 0.965, "gap": 0.3824}
    shared = {"class": "shared", "latents": 8, "without CE": 1}
    shared |= spread(0.7, 0.1, ("CE", "CE low", "CE high"))
    shared |= {"CE active": 0.6, "cosine": 0.9, "gap": 0.25}
    scalars = {"ce/shared": 0.7, "cosine/shared": 0.9, "gap/shared": 0.25, "n/shared": 8}
    meta = {"n_tokens": 24_064, "n_inputs": 576, "published": published, "seconds": 300.0}
    tables = {"classes": [shared, published], "latents": latents}
    return Result("equivalence", scalars, tables, meta)


def stability() -> Result:
    """Build a result in which unmatched latents share more than random subspaces do."""
    classes = []
    unmatched = []
    for name, found in {"all": 0.36, "chat-specific": 0.6, "shared": 0.34}.items():
        row = {"class": name, "latents": 40, "cosine": 0.58, "found again": found}
        classes.append(row | {"seed 1": 0.58, "seed 2": 0.57})
        sizes = dict.fromkeys(("unmatched here", "unmatched there"), 26)
        sizes |= dict.fromkeys(("dimensions here", "dimensions there"), 20)
        overlaps = {"cos²": 0.4, "cos² of random subspaces": 0.02, "cos² of random latents": 0.3}
        unmatched.append({"class": name, **sizes, **overlaps})
    columns = [{"latent": 3, "found_again": 0.5, "matched_cosine": 0.71}]
    tables = {"classes": classes, "unmatched": unmatched, "measured latents": columns}
    varied = ["initial directions", "order of the tokens"]
    meta = {"n_tokens": 23_787, "seeds": [1, 2], "varied": varied, "seed": 0, "seconds": 430.0}
    return Result("stability", {"found_again/all": 0.36}, tables, meta)


def methods(table: LatentTable) -> Result:
    """Build a methods result: the crosscoder finds the behaviour, the others do not."""
    aurocs = {"crosscoder_energy": [0.7, 0.97, 0.8], "pca": [0.6, 0.7], "token_kl": [0.5]}
    rows, evidence, removal = [], [], []
    for name, own in aurocs.items():
        found = [rank for rank, auroc in enumerate(own, start=1) if auroc > 0.9]
        row = {"method": name, "evidence": "latent", "pieces": len(own), "uses_labels": False}
        row |= {"found": found[0] if found else None, "AUROC": max(own), "chance AUROC": 0.6}
        rows.append(row | {"removed@1": 0.5, "KL plain@1": 0.01})
        for rank, auroc in enumerate(own, start=1):
            piece = {"method": name, "rank": rank, "kind": "latent", "piece": f"{ANSWER} {rank}"}
            evidence.append(piece | {"latent": rank, "weight": 1 / rank, "AUROC": auroc})
    for size, removed in ((1, 0.5), (4, 0.8), (16, 1.0)):
        row = {"method": "crosscoder_energy", "size": size, "pieces": size, "rate": 1 - removed}
        removal.append(row | {"removed": removed, "KL plain": 0.01 * size})
    planted = {"description": "Novices <b>get</b> praise.", "vocabulary": ["lovely", "worry"]}
    meta = {"n_questions": 5, "groups": ["novice", "expert"], "planted": planted, "seconds": 99.0}
    tables = {"methods": rows, "evidence": evidence, "removal": removal}
    return Result("methods", {"found/crosscoder_energy": 2.0}, tables, meta)


def comparison(table: LatentTable) -> Result:
    """Build a comparison with a reference that reads the base alone."""
    dictionaries = ("crosscoder", "reference", "reference on each", "reference on each, sparser")
    figures = {
        "latents": (64, 64, 64, 64),
        "l0": (32.0, 31.9, 75.2, 32.0),
        "fve/base": (0.965, 0.967, 0.967, 0.954),
        "fve/chat": (0.963, "", 0.944, 0.921),
        "fve/difference": (0.881, "", 0.722, 0.659),
        "delta_ce/base": (0.09, 0.13, 0.13, 0.29),
    }
    rows = [
        {"": key} | dict(zip(dictionaries, values, strict=True)) for key, values in figures.items()
    ]
    classes = {"all": 0.6, "chat-specific": 0.1, "rewritten": 0.4, "shared": 0.7}
    medians = [
        {"median of": measure} | {name: round(value * factor, 3) for name, value in classes.items()}
        for measure, factor in {
            "latents": 10,
            "cosine base": 1,
            "cosine chat": 0.8,
            "R²": 0.9,
        }.items()
    ]
    latents = (
        table.frame[["latent", "verdict", "difference_share"]]
        .head(4)
        .assign(**{"R²": 0.5})
        .to_dict("records")
    )
    scalars = {"fve/ours": 0.965, "fve/reference": 0.967, "l0/ours": 32.0, "l0/reference": 31.9}
    meta = {
        "n_tokens": 23_787,
        "seconds": 168.0,
        "reference": "trained here on base alone",
        "seed": 0,
    }
    return Result(
        "compare", scalars, {"dictionaries": rows, "classes": medians, "latents": latents}, meta
    )

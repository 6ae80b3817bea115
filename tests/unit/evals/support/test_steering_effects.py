"""Effects of steered directions, from rows as SteeredModels measures them."""

import pytest

from crosscoder.evals.support.steering_effects import list_effects, make_scalars, summarise_draws


def contrast_row(direction: str, strength: float, contrast: float, **more) -> dict:
    row = {"model": "chat", "direction": direction, "strength": strength, "contrast": contrast}
    return row | more


def answer_row(strength: float, rate: float, nll: float, direction: str = "latents") -> dict:
    row = contrast_row(direction, strength, 10 * strength)
    return row | {"rate": rate, "NLL under base": nll}


ANSWERS = [
    answer_row(0.0, 0.5, 2.0),
    answer_row(-0.2, 0.0, 3.0),
    answer_row(-0.1, 0.25, 2.4),
    answer_row(0.1, 0.6, 2.2),
    answer_row(0.2, 1.0, 2.6),
]


def test_an_incoherent_dose_does_not_count_however_large_its_effect():
    effects = {row["measure"]: row for row in list_effects(ANSWERS, 0.5)[0]}
    assert effects["rate"]["strength"] == -0.1
    assert effects["rate"]["effect"] == pytest.approx(-0.25)
    assert effects["rate"]["other sign"] == pytest.approx(0.1)
    assert effects["contrast"]["strength"] == -0.2  # of equal size, and the first
    effects = {row["measure"]: row for row in list_effects(ANSWERS, 0.7)[0]}
    assert effects["rate"]["strength"] == 0.2
    assert effects["rate"]["other sign"] is None  # incoherent


def test_without_a_coherent_dose_nothing_changes():
    effects, _ = list_effects(ANSWERS, coherent=-9.0)
    scalars = make_scalars(ANSWERS, effects, "latents")
    assert scalars["rate/chat"] == scalars["rate_steered/chat"] == 0.5
    assert scalars["strength/chat"] == scalars["nll_rise/chat"] == 0


def test_scalars_are_of_the_dose_of_the_largest_effect():
    scalars = make_scalars(ANSWERS, list_effects(ANSWERS, 0.5)[0], "latents")
    assert scalars["rate_steered/chat"] == pytest.approx(0.25)
    assert scalars["strength/chat"] == -0.1
    assert scalars["nll_rise/chat"] == pytest.approx(0.4)
    assert scalars["contrast_effect/chat"] == -2
    assert "contrast_p/chat" not in scalars


def test_random_directions_have_their_own_best_sign():
    rows = [
        contrast_row("latents", 0.0, 1.0),
        contrast_row("latents", 0.1, 3.0),
        contrast_row("latents", -0.1, 1.0),
        contrast_row("random latents", 0.1, 1.0, draw=0),
        contrast_row("random latents", -0.1, 5.0, draw=0),
        contrast_row("random latents", 0.1, 0.5, draw=1),
        contrast_row("random latents", -0.1, 1.0, draw=1),
        contrast_row("random vectors", 0.1, 1.0, draw=0),
        contrast_row("random vectors", -0.1, 0.0, draw=0),
    ]
    (effect,), drawn = list_effects(rows, 0.5)
    assert (effect["strength"], effect["effect"], effect["other sign"]) == (0.1, 2.0, 0.0)
    assert [(row["strength"], row["effect"]) for row in drawn] == [
        (-0.1, 4),
        (0.1, -0.5),
        (-0.1, -1),
    ]
    assert [row["draw"] for row in drawn] == [0, 1, 0]
    assert effect["random latents"] == pytest.approx((4 + 0.5) / 2)
    assert effect["random vectors"] == 1
    assert effect["margin"] == pytest.approx(2 - (4 + 0.5 + 1) / 3)
    assert effect["p"] == 2 / 4
    assert effect["random directions"] == 3


def test_random_directions_of_few_doses_are_compared_at_these():
    rows = [
        contrast_row("latents", 0.0, 0.0),
        contrast_row("latents", 0.1, 1.0),
        contrast_row("latents", 0.2, 9.0),
        contrast_row("random latents", 0.1, 2.0, draw=0),
    ]
    (effect,), _ = list_effects(rows, 0.5)
    assert (effect["strength"], effect["effect"]) == (0.2, 9.0)
    assert effect["margin"] == pytest.approx(1 - 2)
    assert effect["p"] == 1


def test_draws_are_summarised_by_dose():
    rows = [
        contrast_row("latents", 0.1, 3.0),
        contrast_row("random latents", 0.1, 1.0, draw=0),
        contrast_row("random latents", 0.1, 4.0, draw=1),
        contrast_row("random latents", -0.1, 2.0, draw=0),
    ]
    first, second = summarise_draws(rows)
    assert first == contrast_row(
        "random latents", 0.1, 2.5, **{"contrast low": 1.0, "contrast high": 4.0}
    )
    assert second["strength"] == -0.1

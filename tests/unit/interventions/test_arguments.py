"""Latents and numbers of interventions as people type them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate, scale_latents, steer_toward_base
from crosscoder.interventions.latents import parse_latents
from crosscoder.interventions.patch import patch
from crosscoder.interventions.steer import combine_decoders, project_out, steer
from tests.helpers.small import crosscoder_of, sources_of

N_LATENTS = 24
CROSSCODER = crosscoder_of(TopK(4)).fold()
NORMS = {"base": 1.0, "chat": 1.0}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ("457", "not '457'"),
        ("all", "not 'all'"),
        (b"4", "not bytes"),
        (None, "not NoneType"),
        ([1.0], r"not 1\.0"),
        ([2, "3"], "not '3'"),
        ([[1, 2]], r"not \[1, 2\]"),
        (1.5, "not float"),
        (np.array([1.0]), r"not 1\.0"),
        (torch.tensor([[1, 2]]), r"not \[1, 2\]"),
        ([True, False], "not True"),
        (torch.ones(N_LATENTS, dtype=torch.bool), r"a mask: write mask\.nonzero\(\)\[:, 0\]"),
        (np.zeros(N_LATENTS, dtype=bool), r"a mask: write numpy\.flatnonzero"),
        (pd.DataFrame({"latent": [1]}), "not 'latent'"),
    ],
)
def test_what_is_no_list_of_indices_is_refused(latents, message):
    for intervene in (ablate, parse_latents):
        with pytest.raises(UserError, match=rf"whole numbers from 0 to 23, .*{message}"):
            intervene(CROSSCODER, latents)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "latents",
    [
        [3, 5],
        (3, 5),
        {3, 5},
        range(3, 6, 2),
        np.array([3, 5]),
        torch.tensor([3, 5]),
        pd.Series([3, 5]),
        [np.int64(3), torch.tensor(5)],
    ],
)
def test_indices_are_accepted_in_any_list(latents):
    assert parse_latents(CROSSCODER, latents).tolist() == [3, 5]
    assert parse_latents(CROSSCODER, 3).tolist() == [3]


@given(st.lists(st.integers(-5, 30), max_size=6))
def test_indices_are_kept_or_refused_by_name(indices):
    wrong = [index for index in indices if not 0 <= index < N_LATENTS]
    if wrong:
        with pytest.raises(UserError, match=f"no latent {wrong[0]}: .* latents 0 to 23"):
            parse_latents(CROSSCODER, indices)
    elif len(set(indices)) < len(indices):
        with pytest.raises(UserError, match="given twice"):
            parse_latents(CROSSCODER, indices)
    else:
        assert parse_latents(CROSSCODER, indices).tolist() == indices


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("number", ["2", None, float("nan"), float("inf"), True])
def test_numbers_are_finite(number):
    with pytest.raises(UserError, match="factor is a number, not"):
        scale_latents(CROSSCODER, [1], number)
    with pytest.raises(UserError, match="strength is a number, not"):
        steer_toward_base(CROSSCODER, [1], number)
    with pytest.raises(UserError, match="strength is a number, not"):
        steer(CROSSCODER, [1], number, NORMS)
    with pytest.raises(UserError, match="norm of source 'base' is a number above 0, not"):
        steer(CROSSCODER, [1], 1.0, NORMS | {"base": number})
    with pytest.raises(UserError, match="weight of a latent is a number, not"):
        combine_decoders(CROSSCODER, [1], [number])


@pytest.mark.usefixtures("unchecked")
def test_names_and_objects_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match="no norm for source 'chat': there is one for base, cat"):
        steer(CROSSCODER, [1], 1.0, {"base": 1.0, "cat": 1.0})
    with pytest.raises(UserError, match="expected one norm by source name, a dict"):
        steer(CROSSCODER, [1], 1.0, [1.0, 1.0])
    with pytest.raises(UserError, match="no direction for source 'chat'"):
        project_out(sources_of(6, 6), {"base": torch.ones(6)}, {"base": torch.ones(6)})
    with pytest.raises(UserError, match="keep_error is true or false, not 'no'"):
        ablate(CROSSCODER, [1], "no")
    with pytest.raises(UserError, match="'none', 'all', 'error' or 'true', found '12'"):
        patch(CROSSCODER, "12")
    for intervene in (ablate, patch, parse_latents):
        with pytest.raises(UserError, match=r"needs a Crosscoder, .* not NoneType"):
            intervene(None, [1])


@pytest.mark.usefixtures("unchecked")
def test_an_intervention_prints_as_a_line_and_refuses_other_shapes():
    intervention = ablate(CROSSCODER, [1, 2])
    assert repr(intervention) == "Intervention('ablate 2 latents' on [base, chat] of width 6, 6)"
    with pytest.raises(UserError, match=r"activations are a tensor \[tokens, 12\], not str"):
        intervention("x")
    with pytest.raises(UserError, match="flatten batch and sequence first"):
        intervention(torch.zeros(2, 3, 12))

"""A crosscoder on a device: its threshold, its code, its table of latents and its edits."""

from collections.abc import Callable

import pandas as pd
import pytest
import torch

from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import SparseCode
from crosscoder.interventions.ablate import ablate, scale_each, steer_toward_base
from crosscoder.interventions.patch import patch, patch_base
from crosscoder.interventions.splice import splice
from crosscoder.interventions.steer import combine_decoders, project_out, steer
from crosscoder.training.module import calibrate_activation
from tests.helpers.configs import activation_of, choices
from tests.helpers.small import crosscoder_of, random_acts
from tests.unit.analysis.analysed import analysed
from tests.unit.analysis.test_columns_of_conf import analysis_of

N_LATENTS, WIDTH = 120, 6
NORMS = {"base": 3.0, "chat": 4.0}
LATENTS = [3, 0, 17]


def trained(name: str, device: str) -> Crosscoder:
    """Return a crosscoder that has seen one batch in training, with its threshold fitted."""
    crosscoder = crosscoder_of(activation_of(name, N_LATENTS), (WIDTH, WIDTH), N_LATENTS)
    units = random_acts(2, 2 * WIDTH, seed=5)
    crosscoder.set_units(units[0], units[1].abs() + 0.5)
    crosscoder.to(device).train()(random_acts(64, 2 * WIDTH).to(device))
    calibrate_activation(crosscoder, iter(random_acts(200, 2 * WIDTH).split(64)))
    return crosscoder.eval()


@pytest.mark.parametrize("name", choices("activation"))
def test_codes_equal_those_of_the_cpu(device, name, tmp_path):
    there, here = trained(name, device).fold(), trained(name, "cpu").fold()
    assert there.W_enc.device.type == device
    acts = random_acts(50, 2 * WIDTH, seed=3)
    code, expected = there.encode(acts.to(device)), here.encode(acts)
    torch.testing.assert_close(code.to_dense().cpu(), expected.to_dense())
    torch.testing.assert_close(there.decode(code).cpu(), here.decode(expected))
    torch.testing.assert_close(there.decode(code, "chat").cpu(), here.decode(expected, "chat"))
    solo = there.encode(acts[:, :WIDTH].to(device), mode="solo", source="base")
    expected_solo = here.encode(acts[:, :WIDTH], mode="solo", source="base")
    torch.testing.assert_close(solo.to_dense().cpu(), expected_solo.to_dense())
    assert repr(code) == repr(expected)
    code.to_sparse().save(tmp_path / "code.safetensors")
    loaded = SparseCode.load(tmp_path / "code.safetensors")
    torch.testing.assert_close(loaded.to_dense(), expected.to_dense())
    saved = Crosscoder.from_pretrained(there.save_pretrained(tmp_path / "crosscoder"))
    assert torch.equal(saved.W_enc, there.W_enc.cpu())


def test_a_copy_with_other_sources_stays_on_the_device(device):
    there = trained("topk", device).fold()
    copy = there.replace(sources=there.sources)
    assert {tensor.device.type for tensor in copy.state_dict().values()} == {device}
    acts = random_acts(5, 2 * WIDTH).to(device)
    assert torch.equal(copy.encode(acts).to_dense().cpu(), there.encode(acts).to_dense().cpu())


def test_the_table_of_latents_equals_that_of_the_cpu(device, tmp_path):
    here = analysed(tmp_path)
    columns = analysis_of(f"column=[{','.join(choices('column'))}]").columns
    expected = here.table(columns=columns).frame
    here.crosscoder.to(device)
    found = here.table(columns=columns).frame
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-5)


def edit_of(crosscoder: Crosscoder, name: str) -> Intervention:
    directions = {
        source.name: crosscoder.decoder(source.name)[3].detach() for source in crosscoder.sources
    }
    to = {name: torch.zeros_like(direction) for name, direction in directions.items()}
    makers: dict[str, Callable[[], Intervention]] = {
        "ablate": lambda: ablate(crosscoder, LATENTS),
        "ablate all but latents": lambda: ablate(crosscoder, LATENTS, keep_error=False),
        "scale": lambda: scale_each(crosscoder, {3: 0.0, 17: -2.0}),
        "toward base": lambda: steer_toward_base(crosscoder, LATENTS, 0.5),
        "steer": lambda: steer(crosscoder, LATENTS, 2.0, NORMS),
        "steer along": lambda: steer(crosscoder, combine_decoders(crosscoder, LATENTS), 2.0, NORMS),
        "project out": lambda: project_out(crosscoder.sources, directions, to),
        "patch": lambda: patch(crosscoder, LATENTS),
        "patch base": lambda: patch_base(crosscoder, "all"),
        "splice": lambda: splice(crosscoder),
    }
    return makers[name]()


EDITS = (
    "ablate",
    "ablate all but latents",
    "scale",
    "toward base",
    "steer",
    "steer along",
    "project out",
    "patch",
    "patch base",
    "splice",
)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("crosscoder_on", ["the device", "the CPU"])
def test_edits_equal_those_of_the_cpu_wherever_the_crosscoder_is(device, name, crosscoder_on):
    here = trained("topk", "cpu").fold()
    there = trained("topk", "cpu").fold()
    if crosscoder_on == "the device":
        there.to(device)
    acts = random_acts(20, 2 * WIDTH, seed=3)
    found = edit_of(there, name)(acts.to(device))
    assert found.device.type == device
    torch.testing.assert_close(found.cpu(), edit_of(here, name)(acts))

"""Every method of scaling has its documented property on content tokens."""

import pytest
import torch

from crosscoder.core.sources import Sources
from crosscoder.core.types import Kind
from crosscoder.data import Scale, Store
from crosscoder.data.normalization import measure_median_norms
from crosscoder.errors import UserError
from tests.helpers.small import sources_of, store_of

N = 600
SOURCES = sources_of(6, 10)


@pytest.fixture
def acts() -> dict[str, torch.Tensor]:
    """Return activations far from centred, with one large dimension, of different sizes."""
    base = torch.randn(N, 6) * torch.tensor([1.0, 2, 3, 40, 1, 1]) + 5
    return {"base": base, "chat": 7 * torch.randn(N, 10) - 3}


@pytest.fixture
def kind() -> torch.Tensor:
    """Return kinds with every tenth token special."""
    return torch.where(torch.arange(N) % 10 == 0, Kind.SPECIAL, Kind.PLAIN)


@pytest.fixture
def store(tmp_path, acts, kind) -> Store:
    """Write a store whose special tokens would spoil every statistic."""
    spoilt = {name: torch.where(kind[:, None] == Kind.SPECIAL, 1e4, x) for name, x in acts.items()}
    return store_of(tmp_path / "store", spoilt, [250, 250, 100], kind)


def read_scaled(
    store: Store, acts, kind, scale: Scale, sources: Sources = SOURCES
) -> dict[str, torch.Tensor]:
    """Return content tokens in training units."""
    mean, factor = scale.fit(store, sources)
    rows = torch.cat([acts[name] for name in sources.names], dim=1)[kind != Kind.SPECIAL]
    return sources.split((rows - mean) / factor)


@pytest.mark.parametrize("target", [1.0, 100.0])
def test_centred_rms(store, acts, kind, target):
    for x in read_scaled(store, acts, kind, Scale(centre=True, by="rms", target=target)).values():
        torch.testing.assert_close(x.mean(0) / target, torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            x.square().sum(1).mean(), torch.tensor(x.shape[1] * target**2), rtol=1e-4, atol=0
        )


def test_one_factor_per_source_keeps_the_proportions_of_dimensions(store):
    _, factor = Scale().fit(store, SOURCES)
    for part in SOURCES.split(factor).values():
        assert part.unique().numel() == 1


def test_rms_without_centring(store, acts, kind):
    scale = Scale(centre=False, by="rms")
    assert scale.fit(store, SOURCES)[0].eq(0).all()
    for x in read_scaled(store, acts, kind, scale).values():
        torch.testing.assert_close(
            x.square().sum(1).mean(), torch.tensor(float(x.shape[1])), rtol=1e-4, atol=0
        )


def test_median_norm(store, acts, kind):
    for x in read_scaled(store, acts, kind, Scale(centre=False, by="median_norm")).values():
        torch.testing.assert_close(
            x.norm(dim=1).quantile(0.5), torch.tensor((16 / 2) ** 0.5), rtol=1e-2, atol=0
        )


def test_every_dimension_is_divided_by_its_own_deviation(store, acts, kind):
    for x in read_scaled(store, acts, kind, Scale(centre=True, by="dimension")).values():
        torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            x.std(0, correction=0), torch.ones(x.shape[1]), rtol=1e-4, atol=0
        )


def test_none_changes_nothing(store):
    mean, factor = Scale(centre=False, by="none").fit(store, SOURCES)
    assert mean.eq(0).all()
    assert factor.eq(1).all()


def test_sources_are_fitted_in_the_order_asked_for(store):
    mean, factor = Scale().fit(store, SOURCES)
    swapped = Scale().fit(store, SOURCES.subset(["chat", "base"]))
    assert torch.equal(swapped[0], torch.cat([mean[6:], mean[:6]]))
    assert torch.equal(swapped[1], torch.cat([factor[6:], factor[:6]]))


def test_the_scale_is_measured_on_the_first_tokens(store, acts, kind):
    mean, _ = Scale(n_tokens=100).fit(store, SOURCES)  # fewer than a shard: one shard
    first = acts["base"][:250][kind[:250] != Kind.SPECIAL]
    torch.testing.assert_close(mean[:6], first.mean(0))


def test_the_deviation_is_precise_beside_a_large_mean(tmp_path):
    x = 1e4 + torch.randn(500, 4)
    store = store_of(tmp_path / "s", {"base": x}, [500])
    _, factor = Scale().fit(store, sources_of(4))
    torch.testing.assert_close(
        factor[0], x.double().var(0, correction=0).mean().sqrt().float(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("value", [3.0, float("nan")])
def test_a_constant_or_broken_source_is_refused(tmp_path, value):
    store = store_of(tmp_path / "s", {"base": torch.full((50, 4), value)}, [50])
    with pytest.raises(UserError, match="source 'base' is constant or not finite"):
        Scale().fit(store, sources_of(4))


def test_a_store_of_special_tokens_alone_is_refused(tmp_path):
    store = store_of(
        tmp_path / "s", {"base": torch.randn(50, 4)}, [25, 25], torch.full((50,), Kind.SPECIAL)
    )
    for measure in (Scale().fit, measure_median_norms):
        with pytest.raises(UserError, match=r"can be measured on .*: all its tokens are special"):
            measure(store, sources_of(4))


def test_median_norms_are_measured_on_the_first_shard_with_content_tokens(tmp_path):
    kind = torch.full((50,), Kind.PLAIN)
    kind[:25] = Kind.SPECIAL
    x = torch.randn(50, 4)
    store = store_of(tmp_path / "s", {"base": x}, [25, 25], kind)
    assert measure_median_norms(store, sources_of(4)) == {
        "base": x[25:].norm(dim=1).median().item()
    }


def test_a_constant_dimension_causes_no_division_by_zero(tmp_path):
    x = torch.randn(50, 4)
    x[:, 2] = 5
    mean, factor = Scale(by="dimension").fit(
        store_of(tmp_path / "s", {"base": x}, [50]), sources_of(4)
    )
    assert ((x - mean) / factor).isfinite().all()


def test_an_unknown_method_is_refused(unchecked):
    with pytest.raises(
        UserError, match=r"scale\.by is rms, mean_norm, median_norm, dimension or none, not 'max'"
    ):
        Scale(by="max")

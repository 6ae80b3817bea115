import pytest

from crosscoder.training.schedules import WarmupDecay


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0, 0), (0.05, 0.5), (0.1, 1), (0.5, 1), (0.8, 1), (0.9, 0.5), (0.95, 0.25), (1, 0)],
)
def test_rises_stays_and_falls(progress, factor):
    assert WarmupDecay(warmup=0.1, decay=0.2)(progress) == pytest.approx(factor)


def test_falls_to_the_final_factor():
    schedule = WarmupDecay(warmup=0, decay=0.5, final=0.1)
    assert [schedule(p) for p in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.55, 0.1])


def test_without_warm_up_and_decay_it_is_constant():
    assert {WarmupDecay(warmup=0, decay=0)(p) for p in (0, 0.3, 1)} == {1.0}

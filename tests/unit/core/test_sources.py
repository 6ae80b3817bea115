import pytest
import torch

from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from tests.helpers.small import sources_of


def test_slices_follow_one_another_and_cover_everything():
    sources = sources_of(3, 5, 2)
    assert [sources.slice(name) for name in sources.names] == [
        slice(0, 3),
        slice(3, 8),
        slice(8, 10),
    ]
    assert sources.d_total == 10
    assert len(sources) == 3


def test_split_gives_views_by_name():
    acts = torch.arange(20.0).view(2, 10)
    parts = sources_of(3, 5, 2).split(acts)
    assert list(parts) == ["base", "chat", "third"]
    assert torch.equal(torch.cat(list(parts.values()), dim=-1), acts)
    parts["chat"][:] = 0
    assert acts[:, 3:8].eq(0).all()


def test_a_subset_keeps_the_diff_pair_if_it_has_both_sources():
    sources = sources_of(3, 5, 2)
    assert sources.subset(["third", "chat", "base"]).diff_pair == ("chat", "base")
    assert sources.subset(["third", "chat", "base"]).widths == (2, 5, 3)
    assert sources.subset(["base", "third"]).diff_pair is None


def test_sources_are_rebuilt_from_their_spec():
    for sources in (sources_of(3, 5), sources_of(3)):
        assert Sources.from_spec(sources.spec()) == sources


def test_names_are_distinct_and_at_least_one():
    with pytest.raises(UserError, match=r"distinct names.*\['a', 'a'\]"):
        Sources((Source("a", 1), Source("a", 1)))
    with pytest.raises(UserError, match="at least one"):
        Sources(())


def test_unknown_sources_are_named_with_the_known_ones():
    sources = sources_of(3, 5)
    for ask in (sources.__getitem__, sources.slice, lambda name: sources.subset([name])):
        with pytest.raises(UserError, match=r"no source 'chta': expected one of base, chat"):
            ask("chta")
    with pytest.raises(UserError, match="no source 'it'"):
        Sources((Source("base", 1),), diff_pair=("it", "base"))


def test_the_primary_source_is_the_first_of_the_diff_pair_or_the_first_of_all():
    assert sources_of(3, 5).primary == "chat"
    assert sources_of(3, 5).subset(["base"]).primary == "base"


def test_describe_contains_names_and_widths():
    assert sources_of(3, 5).describe() == "[base, chat] of width 3, 5"


def test_the_difference_of_two_sources_is_a_source():
    sources = sources_of(4, 4)
    difference = sources.subset(["chat-base"])
    assert (difference.names, difference.widths, difference.diff_pair) == (
        ("chat-base",),
        (4,),
        None,
    )
    assert sources.required_sources(["chat-base"]).names == ("chat", "base")
    assert sources.required_sources(["chat"]).names == ("chat",)


def test_a_difference_of_unequal_widths_or_of_unknown_sources_is_refused():
    with pytest.raises(
        UserError, match="chat-base is no source: expected equal widths, found 6 and 4"
    ):
        sources_of(4, 6).subset(["chat-base"])
    with pytest.raises(UserError, match="no source 'chat-sft'"):
        sources_of(4, 4).subset(["chat-sft"])

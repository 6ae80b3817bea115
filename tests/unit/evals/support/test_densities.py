import numpy as np

from crosscoder.evals.support.densities import count_by_density, label_intervals


def test_an_edge_belongs_to_the_interval_below_it():
    assert count_by_density(np.array([0.0, 0.1, 0.2, 0.5, 1.0]), [0.1, 0.5]) == [2, 2, 1]


def test_no_densities_count_as_zeros():
    assert count_by_density(np.array([]), [0.1, 0.5]) == [0, 0, 0]


def test_labels_name_both_edges():
    assert label_intervals([0.0, 1e-4, 0.1]) == ["0 – 0.0001", "0.0001 – 0.1"]

from itertools import combinations

from crosscoder.report.html.labels import HEIGHT, LINE_HEIGHT, WIDTH, Mark, place_labels


def overlap(a, b) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def test_crowded_labels_cover_neither_each_other_nor_points():
    marks = [Mark(0.1 + 0.004 * i, 0.5, 0.45, 0.55, f"intervention {i}") for i in range(8)]
    marks += [Mark(x, y, y, y, "in a corner") for x in (0, 1) for y in (0, 1)]
    places = place_labels(marks)
    boxes = [mark.label_box(*place) for mark, place in zip(marks, places, strict=True)]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    assert not [1 for box in boxes for mark in marks if overlap(box, mark.point_box())]
    assert all(
        left >= 0 and top >= 0 and right <= WIDTH and bottom <= HEIGHT
        for left, top, right, bottom in boxes[:8]
    )


def test_a_single_label_is_next_to_its_point():
    [(right, down)] = place_labels([Mark(0.5, 0.5, 0.5, 0.5, "alone")])
    assert 0 < right < 50
    assert abs(down) < LINE_HEIGHT

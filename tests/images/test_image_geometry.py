"""Sizes and positions against timm and torchvision themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.images.geometry import place

edges = st.integers(1, 4000)


@pytest.mark.parametrize(
    ("size", "resized", "start"),
    [((375, 500), (224, 298), (0, 37)), ((500, 333), (336, 224), (56, 0)), ((224, 224), (224, 224), (0, 0))],
)
def test_known_sizes(size, resized, start):
    """The longer edge is cut, not rounded: 224 * 500 / 375 is 298.67."""
    placement = place(size, (224, 224), (224, 224), "center")
    assert (placement.rows.resized, placement.columns.resized) == resized
    assert (placement.rows.start, placement.columns.start) == start


@given(size=st.tuples(edges, edges), target=st.tuples(st.integers(1, 600), st.integers(1, 600)))
def test_sizes_are_timms(size, target):
    """For any picture and any model."""
    from timm.data.transforms import ResizeKeepRatio
    from torchvision.transforms.functional import _compute_resized_output_size

    picture = torch.empty((1, *size), device="meta")
    for mode, longest in (("center", 0.0), ("border", 1.0)):
        if mode == "center" and target[0] == target[1]:
            expected = _compute_resized_output_size(size, [target[0]])
        else:
            expected = ResizeKeepRatio.get_params(picture, target, longest)
        placement = place(size, target, target, mode)
        assert [placement.rows.resized, placement.columns.resized] == [max(1, edge) for edge in expected]


@given(
    size=st.tuples(edges, edges),
    target=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    crop_pct=st.sampled_from([0.5, 0.875, 0.9, 1.0, 1.1]),
    mode=st.sampled_from(["center", "squash", "border"]),
)
def test_kept_part_lies_inside(size, target, crop_pct, mode):
    """What is kept lies in the resized picture, what is needed in the stored one, and padding completes it."""
    scale_size = tuple(max(1, int(edge / crop_pct)) for edge in target)
    placement = place(size, target, scale_size, mode)
    for span, edge in zip((placement.rows, placement.columns), target, strict=True):
        assert 0 <= span.start <= span.start + span.count <= span.resized
        assert span.count + span.pad <= edge
        assert (span.count == edge) == (span.resized >= edge)
        first, last = span.needed(3.0)
        assert 0 <= first < last <= span.stored

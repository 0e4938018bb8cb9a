"""The policy object and the columns."""

from __future__ import annotations

import pickle

import pytest

from imagecurate.errors import ParameterError
from imagecurate.images import INFO_COLUMNS, DecodePolicy, ImageInfo


def test_policy_is_a_value():
    """It can be a key, travel to a worker, and be compared."""
    policy = DecodePolicy(max_pixels=10, accept_truncated=True)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert len({policy, DecodePolicy(max_pixels=10, accept_truncated=True), DecodePolicy()}) == 2
    with pytest.raises(AttributeError):
        policy.max_pixels = 11


def test_identity_leaves_the_time_limit_out():
    """What decides pixels is in the identity; patience is not."""
    assert DecodePolicy(timeout_s=1).identity() == DecodePolicy(timeout_s=2).identity()
    assert DecodePolicy(max_pixels=1).identity() != DecodePolicy(max_pixels=2).identity()
    assert DecodePolicy(accept_truncated=True).identity() != DecodePolicy().identity()


@pytest.mark.parametrize("wrong", [{"max_pixels": 0}, {"timeout_s": 0}, {"timeout_s": float("inf")}])
def test_limits_must_be_limits(wrong):
    """A limit that can never or always be met raises where it is set."""
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        DecodePolicy(**wrong)


def test_info_gives_a_value_for_every_column():
    """Fields and columns are the same list."""
    assert list(ImageInfo().columns()) == list(INFO_COLUMNS)

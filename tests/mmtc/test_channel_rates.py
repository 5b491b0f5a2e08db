"""Rates of the sim of channels have the intervals of their frames."""

import numpy as np
import pytest
import xarray as xr
from wirelesslab_sims.ser_over_channels import rate

from wirelesslab.rng import stream
from wirelesslab.stats import Count, total


@pytest.mark.parametrize("often", [2e-4, 0.02])
def test_the_interval_is_that_of_the_same_frames_counted_one_by_one(often):
    wrong = stream(1, "frames").binomial(100, often, size=(16, 16))  # sets of pilots, frames of 100 devices
    result = xr.Dataset(
        {
            "errors": (("experiment", "replica", "detector"), wrong.sum(1)[None, :, None]),
            "labels": (("experiment", "replica"), np.full((1, 16), 1600.0)),
        },
        coords={"experiment": ["overloaded | rayleigh"], "detector": ["one"]},
    )
    whole = total(Count.per_frame(frames, 100) for frames in wrong)
    value, low, high = rate(result, "overloaded | rayleigh", "one")
    assert value == whole.rate
    # Frames were independent: their own clustering adds chance alone, of 256 of them about a tenth.
    assert (low, high) == pytest.approx(tuple(whole.interval()), rel=0.1)

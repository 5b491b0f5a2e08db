"""Rates of the sim of channels have the intervals of their frames."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from wirelesslab_sims import ser_over_channels
from wirelesslab_sims.ser_over_channels import CELLS, Case, count, rate

from wirelesslab.mmtc import simulate, symbol_errors
from wirelesslab.mmtc.detectors import AMP, Genie
from wirelesslab.rng import stream
from wirelesslab.stats import total


def test_the_interval_is_that_of_the_same_frames_counted_one_by_one(monkeypatch):
    monkeypatch.setattr(ser_over_channels, "detectors", lambda: (AMP(), AMP(retuned=True)))
    case = Case(replace(CELLS["overloaded"], pilot_length=24), 12, "")
    counted = [count(case, seed) for seed in range(3)]
    names = ser_over_channels.names()
    result = xr.Dataset(
        {
            **{
                key: (("experiment", "replica", "detector"), [[one[key] for one in counted]])
                for key in ("errors", "frame_squares")
            },
            "labels": (("experiment", "replica"), [[one["labels"] for one in counted]]),
        },
        coords={"experiment": ["overloaded | rayleigh"], "detector": names},
    )
    observed = [simulate(case.scenario, stream(seed, "air"), num_frames=case.frames) for seed in range(3)]
    for name in ("AMP block", "genie"):
        each = [symbol_errors((AMP() if name != "genie" else Genie(t)).detect(o), t) for o, t in observed]
        whole, interval = total(each), total(each).interval()
        found = rate(result, "overloaded | rayleigh", name)
        assert found == pytest.approx((whole.rate, interval.low, interval.high))
        assert np.all(np.isfinite(found))

"""Floods: who has a share of its own notices nothing; who shares waits as theory says."""

import numpy as np
import pytest

from wirelesslab.network.isolation import CELL_SHARINGS, LINK_SHARINGS, CellFlood, LinkFlood, run_flood


def runs(kind, sharing, flood, time_s, replicas=20):
    config = kind(sharing=sharing, flood=flood, time_s=time_s)
    return config.predicted(), np.array([run_flood(config, seed)["mean_s"] for seed in range(replicas)])


@pytest.mark.parametrize(("kind", "time_s"), [(LinkFlood, 2.0), (CellFlood, 4.0)], ids=["link", "cell"])
def test_a_dedicated_slice_is_the_same_to_the_last_bit_in_any_flood(kind, time_s):
    calm, flood = (run_flood(kind(sharing="dedicated", flood=f, time_s=time_s), 7) for f in (1.0, 10.0))
    assert [calm[name] for name in ("mean_s", "late_s", "packets")] == [
        flood[name] for name in ("mean_s", "late_s", "packets")
    ]
    assert calm["controls"][1] == flood["controls"][1]  # the very same bytes of Y
    assert calm["packets"] > 100


@pytest.mark.parametrize(
    ("kind", "sharing", "flood", "time_s"),
    [
        (LinkFlood, "strict priority", 4.0, 2.0),
        (LinkFlood, "strict priority", 10.0, 1.5),
        (LinkFlood, "first come first served", 4.0, 2.0),
        (CellFlood, "dedicated", 1.0, 10.0),
        (CellFlood, "weighted", 10.0, 10.0),
        (CellFlood, "minimum", 10.0, 10.0),
    ],
)
def test_the_mean_delay_is_what_theory_says(kind, sharing, flood, time_s):
    predicted, means = runs(kind, sharing, flood, time_s)
    assert predicted.kind == "exact"
    assert abs(means.mean() - predicted.mean_s) < 3 * means.std(ddof=1) / np.sqrt(means.size)
    assert means.mean() == pytest.approx(predicted.mean_s, rel=0.06)  # 3 s.e. of runs this short


def test_an_overloaded_queue_grows_as_a_fluid():
    predicted, means = runs(LinkFlood, "first come first served", 12.0, 5.0, replicas=3)
    assert predicted.kind == "fluid"
    assert means.mean() == pytest.approx(predicted.mean_s, rel=0.1)  # arrivals of 5 s vary by 1 %, growth by 3 %


@pytest.mark.parametrize("sharing", ["minimum", "weighted fair"])
def test_a_guarantee_is_kept_in_a_flood(sharing):
    predicted, means = runs(LinkFlood, sharing, 10.0, 1.0, replicas=5)
    _, open_to_all = runs(LinkFlood, "first come first served", 10.0, 1.0, replicas=5)
    assert predicted.kind == "at most"
    assert means.max() < predicted.mean_s
    assert means.mean() < 0.2 * open_to_all.mean()


def test_every_sharing_has_a_prediction():
    for kind, sharings in ((LinkFlood, LINK_SHARINGS), (CellFlood, CELL_SHARINGS)):
        for sharing in sharings:
            predictions = [kind(sharing=sharing, flood=flood).predicted() for flood in (1.0, 4.0, 7.0, 10.0)]
            means = [p.mean_s for p in predictions]
            assert means == sorted(means), "more flood never helps"
            assert min(means) > 8 * 1250 / 20e6  # what a packet takes alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharing": "fifo"}, "sharing: got 'fifo', expected one of"),
        ({"flood": 0.0}, "flood: got 0"),
        ({"y_share": 0.05}, "y_share: got 0.05, expected above y_load=0.06"),
    ],
)
def test_a_flood_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LinkFlood(**({"sharing": "dedicated", "flood": 1.0} | options))

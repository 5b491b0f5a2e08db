"""What a twin foresees of a delay, out of its own record: as the formula says, as old as its news, and by leave."""

import numpy as np
import pytest

from wirelesslab.network import (
    EMBB,
    URLLC,
    AccessPolicy,
    AccessRefusedError,
    DigitalTwin,
    ExponentialSize,
    Network,
    OnOff,
    Poisson,
    ResourceRatio,
    SetRatios,
    SetUp,
    audit,
    forbid,
    line,
)
from wirelesslab.network.twins.foreseen_delays import foreseen_delay
from wirelesslab.network.twins.predictors import DataDriven, Hybrid, ModelDriven

LINK = "edge-1->edge-2"
RATE_BPS, MEAN_BYTES = 8e6, 1000.0  # a mean packet takes 1 ms
SERVICE_S = 8 * MEAN_BYTES / RATE_BPS


def told(load=0.6, other=0.0, *, seed=1, **twin):
    """Return a link of that load, of which another slice has a part, and its twin, told every ten seconds."""
    network = Network(
        line(num_links=1, rate_bps=RATE_BPS, distance_m=1.0), (EMBB, URLLC), seed=seed, segment_bytes=10**6,
        keep_records=None, report_s=100.0,
    )  # fmt: skip
    for name, part in (("embb", load), ("urllc", other)):
        if part:
            network.add(poisson(name, part))
    return network, network.add(DigitalTwin(**{"period_s": 10.0, "window_s": 10.0, **twin}))


def poisson(name, load):
    size = ExponentialSize(MEAN_BYTES)
    return Poisson(name, source="edge-1", sink="edge-2", rate_per_s=load / SERVICE_S, num_bytes=size)


def test_a_twin_with_a_formula_foresees_what_then_happens():
    network, twin = told(0.6)
    network.run(20.5)
    foreseen = foreseen_delay(twin, ModelDriven(), "embb", LINK)
    network.run(60.0)
    delays_s = np.array([r.delay_s for r in network.flow_records if r.sent_s > 20.5])
    batches = np.array([batch.mean() for batch in np.array_split(delays_s, 20)])
    error = batches.std(ddof=1) / np.sqrt(20)
    # M/M/1; a window of 6000 packets tells the load to 1.8 % (one standard error, sizes and number), the delay to 2.7 %
    assert foreseen.mean_delay_s == pytest.approx(SERVICE_S / 0.4, rel=3 * 0.027)
    assert foreseen.mean_delay_s == pytest.approx(delays_s.mean(), abs=3 * (error + 0.027 * SERVICE_S / 0.4))
    assert foreseen.p99_delay_s == pytest.approx(np.quantile(delays_s, 0.99), rel=0.15)


def test_every_predictor_can_be_asked_and_untrained_ones_say_what_they_must():
    network, twin = told(0.6)
    network.run(20.5)
    model, hybrid, data = (foreseen_delay(twin, p, "embb", LINK) for p in (ModelDriven(), Hybrid(), DataDriven()))
    assert hybrid == model  # an untrained correction is none
    assert data.mean_delay_s == pytest.approx(model.queue.service_s[0])  # an untrained network knows an empty queue


def test_what_is_foreseen_is_as_old_as_the_news():
    network, twin = told(0.3)
    network.run(20.5)
    before = foreseen_delay(twin, ModelDriven(), "embb", LINK)
    network.add(poisson("embb", 0.5))  # the load has grown, and nobody has told the twin
    network.run(29.9)
    stale = foreseen_delay(twin, ModelDriven(), "embb", LINK)
    assert stale.mean_delay_s == before.mean_delay_s
    assert stale.ages_s["traffic"] == pytest.approx(9.9)
    network.run(41.0)
    fresh = foreseen_delay(twin, ModelDriven(), "embb", LINK)
    assert fresh.mean_delay_s > 2 * before.mean_delay_s


def test_a_dedicated_part_is_that_part_and_a_lent_one_what_others_leave():
    network, twin = told(0.2, other=0.3, period_s=1.0)
    network.run(20.5)
    lent = foreseen_delay(twin, ModelDriven(), "embb", LINK).queue
    assert lent.share[0] == pytest.approx(1 - 0.3, abs=0.03)
    ratios = {"embb": ResourceRatio.isolated(0.4), "urllc": ResourceRatio.isolated(0.6)}
    network.apply(SetRatios(domain="transport", ratios=ratios))
    network.run(31.5)
    assert foreseen_delay(twin, ModelDriven(), "embb", LINK).queue.share[0] == pytest.approx(0.4)
    network.apply(SetRatios(domain="transport", ratios=ratios | {"embb": ResourceRatio.isolated(0.1)}, element=LINK))
    network.run(33.5)
    assert foreseen_delay(twin, ModelDriven(), "embb", LINK).mean_delay_s == np.inf  # more is offered than its part


def test_bursts_are_seen_in_the_dispersion():
    seen = {}
    for name in ("steady", "bursty"):
        network, twin = told(0.2, period_s=0.02, window_s=0.02)  # twenty mean services
        if name == "bursty":
            way = {"source": "edge-1", "sink": "edge-2", "num_bytes": 1000}
            network.add(OnOff("embb", **way, mean_on_s=0.05, mean_off_s=0.1, rate_bps=0.9 * RATE_BPS))
        network.run(10.01)
        seen[name] = foreseen_delay(twin, ModelDriven(), "embb", LINK).queue.dispersion[0]
    # of 100 windows: one standard error of a dispersion of 1 is sqrt(2 / 99) = 0.14
    assert seen["steady"] == pytest.approx(1.0, abs=3 * 0.15)
    assert seen["bursty"] > 3


def test_looking_ahead_is_reading_and_is_logged_or_refused():
    network, twin = told(period_s=1.0, policy=AccessPolicy((forbid("app", "traffic"),)))
    network.run(2.5)
    foreseen_delay(twin, ModelDriven(), "embb", LINK, by="planner")
    with pytest.raises(AccessRefusedError, match="traffic"):
        foreseen_delay(twin, ModelDriven(), "embb", LINK, by="app")
    assert {(c.by, c.attribute, c.refused) for c in audit(network) if c.by == "app"} == {("app", "traffic", 1)}
    assert {c.attribute for c in audit(network) if c.by == "planner"} == set(twin.attributes)


@pytest.mark.parametrize(
    ("slice_name", "link", "words"),
    [
        ("urllc", LINK, "nothing of urllc is known to pass"),
        ("embb", "edge-2->edge-1", "nothing of embb is known to pass"),
        ("embb", "edge-1", "link: got 'edge-1'"),
        ("ebb", LINK, "did you mean 'embb'"),
    ],
)
def test_what_cannot_be_foreseen_is_refused(slice_name, link, words):
    network, twin = told(period_s=1.0)
    network.run(2.5)
    with pytest.raises(ValueError, match=words):
        foreseen_delay(twin, ModelDriven(), slice_name, link)


def test_nothing_passes_a_link_that_is_known_to_be_down_or_of_which_nothing_was_heard():
    network, twin = told(period_s=1.0)
    network.run(2.5)
    network.apply(SetUp(element=LINK, up=False))
    assert foreseen_delay(twin, ModelDriven(), "embb", LINK).mean_delay_s > 0  # the twin has not heard yet
    network.run(3.5)
    with pytest.raises(ValueError, match="nothing of embb"):
        foreseen_delay(twin, ModelDriven(), "embb", LINK)
    deaf = told(delay_s=100.0)[1]
    deaf._network.run(1.0)
    with pytest.raises(ValueError, match="has not heard yet of"):
        foreseen_delay(deaf, ModelDriven(), "embb", LINK)

"""The Gibbs sampler samples the exact posterior, and its decisions are the best there are."""

from dataclasses import replace

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, TINY, frames_of, one_frame
from tests.references.exact_posterior import exact_posteriors
from wirelesslab.mmtc import Scenario, simulate, symbol_errors
from wirelesslab.mmtc.detectors import AMP, Covariance, Genie, Gibbs
from wirelesslab.mmtc.gains import GainPrior
from wirelesslab.rng import stream

CELLS = {
    "two pilots": TINY,
    "activity only, one antenna": replace(TINY, bits_per_device=0, num_antennas=1, num_devices=7, snr_db=-3.0),
    "four pilots, three symbols": replace(TINY, bits_per_device=2, num_devices=4, pilot_length=3, snr_db=0.0),
    "weak noise": replace(TINY, snr_db=60.0, pilot_length=3),
}
NUM_RUNS = 16
# Student's t of 15 degrees of freedom beyond 8: 9e-7, in each of some 200 comparisons.
STANDARD_ERRORS = 8.0


def runs_of(observation, **options):
    settings = {"chains": 2, "burn_in": 40, "sweeps": 300, "hottest": 0.3} | options
    return np.stack([Gibbs(seed=seed, **settings).detect(observation).posteriors for seed in range(NUM_RUNS)])


def exact(observation):
    o = observation
    return np.stack(
        [
            exact_posteriors(
                y, o.pilots, o.gains.nodes, o.gains.weights, o.noise_power, o.activity_prob, o.pilots_per_device
            )
            for y in o.received
        ]
    )


def assert_exact(runs, expected):
    # Where a chain seldom goes, few runs have been: 2e-3 on top.
    error = runs.std(axis=0, ddof=1) / np.sqrt(NUM_RUNS)
    assert np.all(np.abs(runs.mean(axis=0) - expected) <= STANDARD_ERRORS * error + 2e-3)
    assert np.abs(runs.mean(axis=0) - expected).mean() < 2e-3  # 10,000 sweeps: and it says something


@pytest.mark.parametrize(("relocations", "rungs"), [(0, 1), (3, 1), (3, 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_posteriors_are_those_of_the_enumeration_of_all_labels(cell, relocations, rungs):
    observation, _ = frames_of(CELLS[cell], 4, "enumeration")
    expected = exact(observation)
    assert np.any((expected > 0.05) & (expected < 0.95)) or cell == "weak noise"  # there is something to be unsure of
    assert_exact(runs_of(observation, relocations=relocations, rungs=rungs), expected)


def test_gains_known_by_their_law_are_summed_over():
    observation, _ = frames_of(replace(TINY, num_devices=4, snr_db=0.0), 4, "law")
    law = GainPrior(np.array([[0.1, 1.0], [0.5, 4.0], [1.0, 2.0], [0.2, 8.0]]), np.array([0.7, 0.3]))
    observation = replace(observation, gains=law)
    assert_exact(runs_of(observation), exact(observation))


def test_two_devices_with_one_pilot_change_places():
    # Only a relocation, or a detour over silence, leads from one to the other: 30 dB make the detour long.
    observation, _ = frames_of(replace(TINY, snr_db=30.0), 3, "twins", activity=np.tile([1, 0, 0, 0, 0], (3, 1)))
    pilots = observation.pilots.copy()
    pilots[:, 2:4] = pilots[:, 0:2]
    twins = replace(observation, pilots=pilots)
    expected = exact(twins)
    assert np.all(np.abs(expected[:, :2, 0] - 0.5) < 0.1)
    assert_exact(runs_of(twins), expected)
    # Without relocations a chain changes places seldom, and short chains differ all the more.
    short = {"annealed": False, "chains": 1, "sweeps": 50, "rungs": 1}
    scatter = [runs_of(twins, relocations=r, **short)[:, :, :2, 0].std(axis=0).mean() for r in (0, 2)]
    assert scatter[0] > 1.5 * scatter[1]


def test_one_device_is_decided_exactly_by_a_single_sweep():
    observation, truth = frames_of(replace(LIGHT, num_devices=1, snr_db=-12.0), 20, "one device")
    once = Gibbs(chains=1, burn_in=0, sweeps=1, rungs=1).detect(observation).posteriors
    np.testing.assert_allclose(once, Genie(truth).detect(observation).posteriors, atol=1e-9)


def test_the_seed_and_the_number_of_the_frame_decide_the_draws_and_nothing_else_does():
    observation, _ = frames_of(replace(TINY, snr_db=-3.0), 6, "seed")
    first, again, other = (Gibbs(seed=seed).detect(observation).posteriors for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(Gibbs(seed=1).detect(one_frame(observation, 0)).posteriors[0], first[0])


def test_it_says_how_far_its_chains_disagree_and_how_much_was_lost_to_rounding():
    observation, _ = frames_of(replace(TINY, snr_db=-3.0), 20, "history")
    short, long = (Gibbs(chains=4, burn_in=40, sweeps=sweeps).detect(observation).history for sweeps in (5, 400))
    for history in (short, long):
        assert history["chain_disagreement"].shape == history["exchanged"].shape == history["drift"].shape == (20, 1)
        assert np.all((history["chain_disagreement"] >= 0) & (history["chain_disagreement"] <= 1))
        assert np.all(history["drift"] < 1e-9)
    assert long["chain_disagreement"].mean() < 0.5 * short["chain_disagreement"].mean()
    assert np.all(Gibbs(chains=1).detect(observation).history["chain_disagreement"] == 0)


def test_neighbours_exchange_the_less_the_farther_their_rungs_lie_apart():
    observation, _ = frames_of(replace(TINY, num_devices=20), 10, "exchanges")
    shares = [Gibbs(hottest=h).detect(observation).history["exchanged"].mean() for h in (1.0, 0.7, 0.1)]
    assert shares[0] == 1.0  # the same law on all rungs
    assert shares[0] > shares[1] > shares[2] > 0
    assert np.all(Gibbs(rungs=1).detect(observation).history["exchanged"] == 1)


def test_a_ladder_leads_out_of_explanations_in_which_one_walker_stays():
    # Three pilot symbols per speaker and weak noise: the genie is right everywhere, and what errs is stuck.
    scenario = Scenario(num_devices=100, bits_per_device=2, pilot_length=30, num_antennas=4, snr_db=15.0)
    observation, truth = frames_of(scenario, 16, "trap", 1)
    walker, ladder = Gibbs(burn_in=60, sweeps=60, rungs=1), Gibbs()  # at the same cost
    stuck = [
        np.count_nonzero((d.detect(observation).labels != truth.symbols).sum(axis=1) > 3) for d in (walker, ladder)
    ]
    assert stuck[0] >= 2
    assert stuck[1] == 0


@pytest.mark.parametrize("snr_db", [20, 50, 90])
def test_rounding_is_kept_small_when_noise_is_weak(snr_db):
    observation, truth = frames_of(replace(LIGHT, snr_db=snr_db), 4, "drift")
    detection = Gibbs(chains=1, burn_in=30, sweeps=30).detect(observation)
    assert detection.history["drift"].max() < 1e-3
    assert symbol_errors(detection, truth).errors == 0


def test_it_errs_less_than_amp_and_covariance_and_hardly_more_than_the_genie():
    # The air of the acceptance table; its first 8 of 20 pilot draws.
    scenario = Scenario(num_devices=100, bits_per_device=2, pilot_length=30, num_antennas=4, snr_db=0.0)
    errors = {}
    for draw in range(8):
        observation, truth = simulate(scenario, stream(2301, "N100 Q4 L30 M4, 0 dB", draw), num_frames=20)
        for detector in (Gibbs(), AMP(), Covariance(), Genie(truth)):
            errors.setdefault(detector.name, []).append(symbol_errors(detector.detect(observation), truth).errors)
    gibbs = np.array(errors.pop("Gibbs"))
    for other in ("AMP block", "covariance"):
        assert_fewer(gibbs, np.array(errors[other]))
    assert gibbs.sum() <= 1.5 * sum(errors["genie"])  # who is told the labels of all others


def assert_fewer(errors, others):
    """Fewer errors on the same pilot draws: the paired 95 % interval of the difference lies below 0."""
    difference = errors - others
    error = difference.std(ddof=1) / np.sqrt(difference.size)
    assert difference.mean() + 2.37 * error < 0  # Student's t of 7 degrees of freedom


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 0}, "chains: got 0, expected a whole number of at least 1"),
        ({"sweeps": 0}, "sweeps: got 0"),
        ({"burn_in": -1}, "burn_in: got -1"),
        ({"relocations": -1}, "relocations: got -1"),
        ({"rungs": 0}, "rungs: got 0"),
        ({"hottest": 0.0}, "hottest: got 0"),
        ({"hottest": 1.5}, "hottest: got 1.5"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Gibbs(**options)


def test_two_configurations_never_share_a_name():
    configurations = [
        Gibbs(chains=c, burn_in=b, sweeps=s, relocations=r, rungs=k, hottest=h, annealed=a, seed=i)
        for c in (1, 2)
        for b in (0, 40)
        for s in (20, 50)
        for r in (0, 4)
        for k, h in ((1, 0.55), (3, 0.55), (3, 0.7))
        for a in (False, True)
        for i in (0, 3)
    ]
    assert len({c.name for c in configurations}) == len(configurations)

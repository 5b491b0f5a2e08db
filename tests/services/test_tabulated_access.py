"""Tables of whole-frame outcomes: they say what the detector in the loop says, and refuse what they cannot know."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2

from wirelesslab import results
from wirelesslab.mmtc import PathLoss, Scenario
from wirelesslab.mmtc.detectors import AMP, MatchedFilter
from wirelesslab.network import MIOT, URLLC, Network, line
from wirelesslab.network.slices import ResourceRatio
from wirelesslab.rng import stream
from wirelesslab.services import Crowd, FrameAccess, Framing, GrantFreeAccess, InLoop, TabulatedAccess, tabulate
from wirelesslab.services.frames import HEARD, MISSED, WRONG, Frames

SCENARIO = Scenario(num_devices=32, bits_per_device=2, pilot_length=16, num_antennas=4, snr_db=4.0, activity_prob=0.06)
DETECTOR = MatchedFilter()
SEEDS = 6


@pytest.fixture(scope="module")
def table():
    return tabulate(SCENARIO, DETECTOR, active=range(33), frames=128, draws=12)


def frames_of(speakers, count, num_devices=32, cell=0):
    label = np.concatenate([np.sort(stream(7, i).permutation(num_devices)[:speakers]) for i in range(count)])
    return Frames(
        np.arange(count), np.full(count, cell), np.zeros(count, np.int64), np.arange(count + 1) * speakers,
        label.astype(np.int64), np.full(count, np.nan),
    )  # fmt: skip


def run(outcomes, seed):
    framing = Framing(slot_s=1e-3, bits_per_frame=2, num_devices=32, overhead_bytes=3, max_attempts=6, max_restarts=6)
    cell = np.repeat(np.arange(8), 32)
    access = FrameAccess(
        (MIOT,), cells=cell, slice_of=np.zeros(cell.size, int), framing=framing, outcomes=outcomes, rng=stream(seed)
    )
    rng = stream(seed, "arrivals")
    access.offer(rng.integers(0, cell.size, 160), np.full(160, 2), np.sort(rng.uniform(0, 0.5, 160)))
    delivered = access.advance(20.0)
    access.account().check()
    delay_s = delivered.delay_s
    return [delivered.user.size / 160, *np.quantile(delay_s, [0.5, 0.99]), access.counts()["frames_spoken"].sum() / 160]


def test_a_table_and_the_detector_in_the_loop_agree_in_deliveries_delays_and_energy(table):
    # Paired by seed: the same arrivals and back-offs. Eight cells, each with pilots of its own, in each of six
    # seeds; the interval is 5 standard errors of the pairs' difference (5 degrees of freedom: 0.4 % false alarms),
    # plus a slot for the quantiles, which come in whole slots. All pairs share the table's 12 draws of pilots, whose
    # own error the pairs do not show (0.8 frames of 25 for one table): means over eight tables and twelve seeds in the
    # loop differ by 0.7 frames with a standard error of 0.6.
    looped = np.array([run(InLoop(SCENARIO, DETECTOR), seed) for seed in range(SEEDS)])
    resampled = np.array([run(table, seed) for seed in range(SEEDS)])
    error = (looped - resampled).std(axis=0, ddof=1) / np.sqrt(SEEDS)
    grain = np.array([1e-3, 1e-3, 1e-3, 0.01])
    assert (np.abs(looped.mean(0) - resampled.mean(0)) <= 5 * error + grain).all()
    assert 0.3 < looped[:, 0].mean() <= 1.0
    assert looped[:, 3].mean() > 1.2 * 20  # failures matter at this point: a fifth more frames than nothing costs


def test_a_table_remembers_what_the_detector_did_frame_by_frame(table):
    assert (table.table["missed"].sel(active=0) == 0).all()
    for name in ("missed", "wrong"):
        assert (table.table[name] <= table.table["active"]).all()
    assert table.name == DETECTOR.name
    assert table.most_active == 32


@pytest.mark.parametrize("speakers", [1, 5, 20])
def test_whole_frames_are_resampled_and_dealt_out_uniformly(table, speakers):
    count = 4000
    frames = frames_of(speakers, count)
    heard = table.hear(frames, 0)  # seed 0, cell 0: the table's first draw of pilots
    own = [table.table[n].values[speakers, 0] for n in ("missed", "wrong", "false_alarms")]
    per_frame = heard.outcome.reshape(count, speakers)
    alarms = np.bincount(heard.false_frame, minlength=count)
    triples = set(zip(*(column.tolist() for column in own), strict=True))
    drawn = list(zip((per_frame == MISSED).sum(1).tolist(), (per_frame == WRONG).sum(1).tolist(), alarms.tolist(),
                     strict=True))  # fmt: skip
    assert set(drawn) <= triples  # frames as they were, never mixed
    misses = (per_frame == MISSED).sum()
    # The means agree with the table's: 128 rows, each drawn uniformly; 5 standard errors.
    assert misses / count == pytest.approx(own[0].mean(), abs=5 * own[0].std() / np.sqrt(count) + 1e-12)
    if speakers > 1 and misses > 50 * speakers:
        counts = (per_frame == MISSED).sum(0)
        assert chi2.sf(((counts - misses / speakers) ** 2 / (misses / speakers)).sum(), speakers - 1) > 1e-6
    wrong = (per_frame == WRONG).sum(0)
    if speakers == 20:
        assert wrong.mean() > 5
        assert chi2.sf(((wrong - wrong.mean()) ** 2 / wrong.mean()).sum(), speakers - 1) > 1e-6
    assert set(np.unique(per_frame).tolist()) <= {MISSED, HEARD, WRONG}


def test_false_alarms_fall_on_silent_devices_once_each(table):
    frames = frames_of(6, 500)
    heard = table.hear(frames, 3)
    counts = np.bincount(heard.false_label, minlength=32)  # who speaks is uniform here, so who does not is, too
    mean = counts.sum() / 32
    assert mean > 5
    # Alarms of one frame fall on different devices, so counts vary a little less than multinomial ones.
    assert chi2.sf(((counts - mean) ** 2 / mean).sum(), 31) > 1e-6
    pairs = set(zip(heard.false_frame.tolist(), heard.false_label.tolist(), strict=True))
    assert len(pairs) == heard.false_frame.size
    speaking = set(zip(np.repeat(np.arange(500), 6).tolist(), frames.label.tolist(), strict=True))
    assert not pairs & speaking


def busy(table, seed=4):
    """Two slices with shares of the turns, three codebooks on two bands, and a receiver who misreads and imagines."""
    framing = Framing(slot_s=1e-3, bits_per_frame=2, num_devices=32, bands=2, max_attempts=4, max_restarts=2)
    cell = np.repeat(np.arange(2), 96)
    access = FrameAccess((MIOT, URLLC), cells=cell, slice_of=np.arange(cell.size) % 2, framing=framing, outcomes=table,
                         rng=stream(seed))  # fmt: skip
    access.set_ratios({"urllc": ResourceRatio(min=0.6)})
    return access


def told(access, moments, back_s=0.3):
    """Advance through moments; cell 1 is down from 0.1 s until `back_s`."""
    rng, ended, before_s = stream(4, "arrivals"), [], -1.0
    users, times = rng.integers(0, 192, 600), np.sort(rng.uniform(0, 0.8, 600))
    for moment in sorted({*moments, 0.1, back_s}):
        new = (times > before_s) & (times <= moment)
        access.offer(users[new], np.full(new.sum(), 3), times[new])
        done, before_s = access.advance(moment), moment
        gone = access.given_up()
        ended += list(zip(done.user.tolist(), done.delivered_s.tolist(), strict=True))
        ended += list(zip((-1 - gone.user).tolist(), gone.delivered_s.tolist(), strict=True))
        access.account().check()
        if moment == 0.1:
            access.set_cell_up(1, False)
        if moment == back_s:
            access.set_cell_up(1, True)
    return sorted(ended), {name: value.tolist() for name, value in access.counts().items()}


def test_false_alarms_slices_and_a_cell_that_is_down_do_not_depend_on_how_time_is_cut(table):
    ended, counts = told(busy(table), [0.8, 6.0])
    for name in ("missed", "wrong", "broken_by_alarm", "restarts"):
        assert np.all(np.array(counts[name]) > 0), name  # everything that can go wrong does, in every cell and slice
    assert any(user < 0 for user, _ in ended)
    moments = np.sort(stream(9).uniform(0, 6.0, 400))
    assert told(busy(table), [*moments[moments < 5.9].tolist(), 0.8, 6.0]) == (ended, counts)


def test_a_snapshot_amid_all_that_can_go_wrong_goes_on_alike(table):
    first, second = busy(table), busy(table, seed=5)
    told(first, [0.25, 0.4])
    second.restore(first.snapshot())
    a, b = first.advance(6.0), second.advance(6.0)
    assert a.user.size > 50
    assert a.delivered_s.tolist() == b.delivered_s.tolist()
    for name, value in first.counts().items():
        assert np.array_equal(value, second.counts()[name])


def test_more_speakers_than_the_table_knows_are_refused_with_how_to_mend_it():
    small = tabulate(SCENARIO, DETECTOR, active=range(3), frames=4, draws=1)
    with pytest.raises(ValueError, match=r"knows up to 2; tabulate active=range\(6\)"):
        small.hear(frames_of(5, 2), 1)
    assert small.hear(frames_of(2, 2), 1).outcome.size == 4


def test_a_table_survives_its_file_and_says_where_it_came_from(table, tmp_path):
    path = tmp_path / "table.nc"
    saved = tabulate(SCENARIO, DETECTOR, active=range(4), frames=8, draws=2, seed=5, path=path)
    loaded = TabulatedAccess.load(path)
    xr.testing.assert_identical(loaded.table, saved.table)
    assert {"versions", "command", "created", "config"} <= loaded.table.attrs.keys()
    again = tabulate(SCENARIO, DETECTOR, active=range(4), frames=8, draws=2, seed=5)
    xr.testing.assert_equal(loaded.table, again.table)
    other = tabulate(SCENARIO, DETECTOR, active=range(4), frames=8, draws=2, seed=6)
    assert not loaded.table.equals(other.table)


def test_truncated_and_foreign_files_are_refused(table, tmp_path):
    path = tmp_path / "table.nc"
    results.save(table.table, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        TabulatedAccess.load(path)
    results.save(xr.Dataset({"ser": ("snr_db", [0.1])}), path)
    with pytest.raises(ValueError, match=r"services\.tabulate"):
        TabulatedAccess.load(path)
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="damaged"):
        TabulatedAccess.load(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        TabulatedAccess.load(tmp_path / "none.nc")
    impossible = table.table.copy(deep=True)
    impossible["missed"][0, 0, 0] = 1
    with pytest.raises(ValueError, match="no frame can have"):
        TabulatedAccess(impossible)


def test_a_network_with_a_table_is_written_down_and_goes_on_alike(table):
    net = Network(line(num_links=1, rate_bps=1e8), (MIOT,), seed=3, keep_records=None)
    radio = net.add(GrantFreeAccess(
        SCENARIO, table, at="edge-1", sink="edge-2", traffic=Crowd(rate_per_s=1.0, num_bytes=8)
    ))  # fmt: skip
    net.run(1.0)
    assert radio.access.num_active > 0
    copy = Network.restored(net.snapshot())
    assert [r.ended_s for r in net.run(2.0).records] == [r.ended_s for r in copy.run(2.0).records]
    assert net.snapshot().digest() == copy.snapshot().digest()


def test_what_a_table_cannot_say_is_refused():
    with pytest.raises(ValueError, match="not exchangeable"):
        tabulate(Scenario(gain_law=PathLoss()), AMP(), active=range(3))
    with pytest.raises(ValueError, match="without a gap"):
        tabulate(SCENARIO, DETECTOR, active=[0, 2, 4])
    with pytest.raises(ValueError, match="without a gap"):
        tabulate(SCENARIO, DETECTOR, active=range(40))
    with pytest.raises(TypeError, match="the class AMP"):
        tabulate(SCENARIO, AMP, active=range(3))
    small = tabulate(SCENARIO, DETECTOR, active=range(3), frames=4, draws=1)
    with pytest.raises(ValueError, match="codebooks of 32 devices, expected the framing's 64"):
        FrameAccess((MIOT,), cells=np.zeros(64, int), slice_of=np.zeros(64, int), outcomes=small, rng=stream(1),
                    framing=Framing(slot_s=1e-3, bits_per_frame=2, num_devices=64))  # fmt: skip
    other = Scenario(num_devices=32, bits_per_device=2, pilot_length=20, num_antennas=4, activity_prob=0.06, snr_db=4)
    with pytest.raises(ValueError, match="pilot_length=16 in the table and 20 here"):
        GrantFreeAccess(other, small, traffic=Crowd(rate_per_s=1, num_bytes=2))
    with pytest.raises(ValueError, match="made for one ε"):
        Network(line(num_links=1, rate_bps=1e6), (MIOT,)).add(GrantFreeAccess(
            SCENARIO, small, at="edge-1", traffic=Crowd(rate_per_s=1, num_bytes=2), activity_prob="estimated"
        ))  # fmt: skip

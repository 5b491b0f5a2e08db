"""Trained networks in files: what is read is what was written, and nothing else is read at all."""

import json
import pickle
import warnings
import zipfile
from dataclasses import asdict, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.mmtc.cells import frames_of
from wirelesslab.mmtc import PathLoss, Scenario
from wirelesslab.mmtc.detectors import MAMPNet
from wirelesslab.mmtc.unfolded import Architecture
from wirelesslab.mmtc.weight_files import (
    SHIPPED,
    Network,
    OutsideTrainingRangeWarning,
    TrainedFor,
    WeightFileError,
    load,
    pilots_digest,
    save,
)
from wirelesslab.rng import stream

SHAPE = Architecture(num_layers=2, num_passes=1, context_width=3, block_width=2)
OTHER_SHAPE = replace(SHAPE, num_layers=3)
RANGES = TrainedFor(
    num_devices=(50, 220),
    pilots_per_device=(2, 4),
    pilot_length=(12, 64),
    num_antennas=(2, 16),
    activity_prob=(0.045, 0.16),
    snr_db=(-7.0, 11.0),
)


def network(shape=SHAPE, seed=1):
    rng = stream(seed, "weights")
    values = {name: rng.normal(size=size).astype(np.float32) for name, size in shape.shapes().items()}
    return Network(shape, values, RANGES, {"steps": 7, "note": "for a test"})


def seal(arrays, architecture, trained_for):
    """The checksum of arrays and of what the description says about them."""
    return sha256(arrays + json.dumps([architecture, trained_for], sort_keys=True).encode()).hexdigest()


def reseal(path):
    """Make the checksum fit the files, as a forger would."""
    description = path.with_suffix(".json")
    body = json.loads(description.read_text(encoding="utf-8"))
    body["sha256"] = seal(path.read_bytes(), body["architecture"], body["trained_for"])
    description.write_text(json.dumps(body), encoding="utf-8")


def rewrite(path, **changes):
    """Change fields of the description."""
    description = path.with_suffix(".json")
    body = json.loads(description.read_text(encoding="utf-8")) | changes
    description.write_text(json.dumps(body), encoding="utf-8")


@pytest.fixture
def saved(tmp_path):
    return save(network(), tmp_path / "net")


def assert_refused(path, file, *words):
    with pytest.raises(WeightFileError) as caught:
        load(path)
    for word in (str(file), *words):
        assert word in str(caught.value)
    with pytest.raises(WeightFileError):
        MAMPNet.load(path)


# --- what is written is what is read ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".npz", ".json"])
def test_a_network_comes_back_bit_by_bit(tmp_path, suffix):
    written = network()
    assert save(written, tmp_path / f"folder/net{suffix}") == tmp_path / "folder/net.npz"
    read = load(tmp_path / f"folder/net{suffix}")
    assert read.architecture == written.architecture
    assert read.trained_for == written.trained_for
    assert read.record == written.record
    assert read.digest == written.digest
    assert read.parameters.keys() == written.parameters.keys()
    for name, values in written.parameters.items():
        assert read.parameters[name].dtype == np.float32
        assert read.parameters[name].tobytes() == values.tobytes(), name


def test_a_name_with_a_dot_keeps_it(tmp_path):
    assert save(network(), tmp_path / "net.v2") == tmp_path / "net.v2.npz"
    assert load(tmp_path / "net.v2").digest == network().digest


def test_a_network_that_was_not_trained_comes_back_without_ranges(tmp_path):
    save(Network(SHAPE, SHAPE.initial(3)), tmp_path / "net")
    assert load(tmp_path / "net").trained_for is None


def test_a_detector_of_the_file_decides_as_that_of_the_network(saved):
    scenario = Scenario(num_devices=60, bits_per_device=1, pilot_length=20)
    observation, _ = frames_of(scenario, 3, "file")
    from_file, from_memory = MAMPNet.load(saved), MAMPNet(network())
    assert np.array_equal(from_file.detect(observation).posteriors, from_memory.detect(observation).posteriors)


def test_the_digest_depends_on_the_numbers_only():
    assert network().digest == network().digest == sha256_of_file_of(network())
    assert network(seed=2).digest != network().digest
    backwards = Network(SHAPE, dict(reversed(network().parameters.items())), RANGES)
    assert backwards.digest == network().digest


def sha256_of_file_of(a_network):
    # Written at another time of day: an archive that noted the time would differ.
    buffer = BytesIO()
    np.savez(buffer, **{name: a_network.parameters[name] for name in sorted(a_network.parameters)})
    return seal(buffer.getvalue(), asdict(a_network.architecture), asdict(a_network.trained_for))


def test_the_digest_of_pilots_is_the_same_in_both_precisions():
    observation, _ = frames_of(Scenario(num_devices=30), 1, "digest")
    pilots = observation.pilots
    assert pilots_digest(pilots) == pilots_digest(pilots.astype(np.complex64))
    assert pilots_digest(pilots) != pilots_digest(pilots[:, ::-1])


# --- everything else is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_missing_file_is_refused(saved, suffix):
    missing = saved.with_suffix(suffix)
    missing.unlink()
    assert_refused(saved, missing, "side by side")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert_refused(saved, saved, "checksum", "cut short")
    reseal(saved)  # even with a checksum that fits
    with pytest.raises(WeightFileError):
        load(saved)


def test_a_flipped_bit_is_refused_wherever_it_is(saved):
    content = saved.read_bytes()
    for position in stream(7).choice(len(content), size=20, replace=False):
        broken = bytearray(content)
        broken[position] ^= 1 << int(position % 8)
        saved.write_bytes(bytes(broken))
        assert_refused(saved, saved, "checksum")


def test_the_arrays_of_another_network_are_refused(tmp_path, saved):
    other = save(network(seed=2), tmp_path / "other")
    saved.write_bytes(other.read_bytes())
    assert_refused(saved, saved, "belongs to another description")


def test_the_arrays_of_another_architecture_are_refused_even_with_their_checksum(tmp_path, saved):
    other = save(network(OTHER_SHAPE), tmp_path / "other")
    saved.write_bytes(other.read_bytes())
    reseal(saved)
    assert_refused(saved, saved, "expected finite reals of shape")


@pytest.mark.parametrize("name", ["layer.bias", "surplus"])
def test_a_missing_or_unknown_array_is_refused(saved, name):
    arrays = dict(network().parameters)
    if name in arrays:
        del arrays[name]
    else:
        arrays[name] = np.zeros(3, np.float32)
    np.savez(saved, **arrays)
    reseal(saved)
    assert_refused(saved, saved, name, "another network")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(saved, value):
    arrays = dict(network().parameters)
    arrays["layer.bias"] = np.full_like(arrays["layer.bias"], value)
    np.savez(saved, **arrays)
    reseal(saved)
    assert_refused(saved, saved, "layer.bias", "finite")


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, "U3"])
def test_parameters_of_another_kind_are_refused(saved, dtype):
    arrays = dict(network().parameters)
    arrays["layer.bias"] = arrays["layer.bias"].astype(dtype)
    np.savez(saved, **arrays)
    reseal(saved)
    assert_refused(saved, saved, "layer.bias", "finite reals")


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", "[1, 2]", '"text"', "null", "{}", '{"format": "wirelesslab unfolded network 0"}'],
)
def test_a_description_that_is_none_is_refused(saved, text):
    description = saved.with_suffix(".json")
    description.write_text(text, encoding="utf-8")
    assert_refused(saved, description)


def test_a_description_that_is_not_even_text_is_refused(saved):
    description = saved.with_suffix(".json")
    description.write_bytes(bytes(range(128, 256)))
    assert_refused(saved, description, "not readable")


@pytest.mark.parametrize(
    "architecture",
    [
        None,
        [],
        {},
        asdict(SHAPE) | {"surplus": 1},
        asdict(SHAPE) | {"num_layers": 0},
        asdict(SHAPE) | {"num_layers": "two"},
        asdict(SHAPE) | {"controls": "magic"},
        asdict(SHAPE) | {"refinement": ["covariance"]},
        asdict(SHAPE) | {"refinement": "none"},
    ],
)
def test_a_description_of_no_architecture_is_refused(saved, architecture):
    rewrite(saved, architecture=architecture)
    reseal(saved)
    assert_refused(saved, saved.with_suffix(".json"), "architecture")


@pytest.mark.parametrize("trained_for", [[], {}, {"num_devices": [1, 2]}, asdict(RANGES) | {"surplus": 1}])
def test_a_description_without_the_ranges_is_refused(saved, trained_for):
    rewrite(saved, trained_for=trained_for)
    reseal(saved)
    assert_refused(saved, saved.with_suffix(".json"), "trained_for")


@pytest.mark.parametrize(
    "wrong",
    [{"num_devices": 5}, {"snr_db": [1, 2, 3]}, {"pilot_length": ["a", "b"]}, {"num_antennas": None}],
    ids=str,
)
def test_a_description_whose_ranges_are_none_is_refused_before_a_detection_needs_them(saved, wrong):
    rewrite(saved, trained_for=asdict(RANGES) | wrong)
    reseal(saved)
    assert_refused(saved, saved.with_suffix(".json"), "trained_for")


@pytest.mark.parametrize("change", [{"architecture": asdict(SHAPE) | {"prior": "row"}}, {"trained_for": None}], ids=str)
def test_a_description_that_was_changed_is_refused(saved, change):
    rewrite(saved, **change)
    assert_refused(saved, saved, "checksum")


def test_a_file_that_is_far_too_large_is_refused_unread(saved):
    with saved.open("r+b") as file:
        file.truncate(65 * 2**20)  # sparse: takes no room
    assert_refused(saved, saved, "no such network")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "boom"))


def pickled_objects(trace):
    """An .npz whose array of objects goes off when it is read with allow_pickle."""
    buffer = BytesIO()
    arrays = dict(network().parameters)
    arrays["layer.bias"] = np.array([Bomb(trace)], dtype=object)
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def bare_pickle(trace):
    return pickle.dumps(Bomb(trace))


def member_that_is_a_pickle(trace):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in SHAPE.shapes():
            archive.writestr(f"{name}.npy", pickle.dumps(Bomb(trace)))
    return buffer.getvalue()


@pytest.mark.parametrize("forge", [pickled_objects, bare_pickle, member_that_is_a_pickle])
def test_nothing_is_ever_unpickled(saved, tmp_path, forge):
    trace = tmp_path / "trace"
    content = forge(trace)
    saved.write_bytes(content)
    reseal(saved)
    with pytest.raises(WeightFileError):
        load(saved)
    with pytest.raises(WeightFileError):
        MAMPNet.load(saved)
    assert not trace.exists()


def test_the_bomb_of_the_test_above_would_go_off(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(bare_pickle(trace))
    assert trace.read_text(encoding="utf-8") == "boom"
    trace.unlink()
    with np.load(BytesIO(pickled_objects(trace)), allow_pickle=True) as file:
        _ = file["layer.bias"]
    assert trace.exists()


def test_the_refusal_of_a_pickle_names_the_file(saved, tmp_path):
    saved.write_bytes(pickled_objects(tmp_path / "trace"))
    reseal(saved)
    assert_refused(saved, saved)


def one_bare_array(_):
    buffer = BytesIO()
    np.save(buffer, np.zeros(3, np.float32))
    return buffer.getvalue()


def members_without_a_header(_):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in SHAPE.shapes():
            archive.writestr(name, b"not an array")
    return buffer.getvalue()


def encrypted_members(_):
    content = bytearray(np_savez_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    return bytes(content)


def np_savez_bytes():
    buffer = BytesIO()
    np.savez(buffer, **network().parameters)
    return buffer.getvalue()


def broken_stream(_):
    buffer = BytesIO()
    np.savez_compressed(buffer, **network().parameters)
    content = bytearray(buffer.getvalue())
    start = content.find(b".npy") + 4 + 20  # past the first local header
    content[start : start + 24] = b"\xff" * 24
    return bytes(content)


@pytest.mark.parametrize("forge", [one_bare_array, members_without_a_header, encrypted_members, broken_stream])
def test_foreign_content_under_the_right_checksum_is_refused_by_name(saved, forge):
    saved.write_bytes(forge(None))
    reseal(saved)
    assert_refused(saved, saved)


# --- the networks that are shipped ------------------------------------------------------------------


SHIPPED_NAMES = sorted({path.stem for path in SHIPPED.iterdir() if path.suffix in (".npz", ".json")})


def test_the_networks_for_known_gains_and_for_gains_by_their_law_are_shipped():
    assert {"known", "distribution"} <= set(SHIPPED_NAMES)


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_every_shipped_network_loads_and_has_a_record(name):
    shipped = load(SHIPPED / name)
    assert shipped.trained_for is not None
    assert shipped.record
    assert MAMPNet.pretrained(name).network.digest == shipped.digest
    assert shipped.trained_for.gain_knowledge == ("distribution" if name == "distribution" else "known")
    assert (shipped.architecture.num_devices > 0) == bool(shipped.trained_for.pilots_digest)


def test_the_shipped_files_are_below_two_megabytes_together():
    assert 0 < sum(path.stat().st_size for path in SHIPPED.iterdir()) < 2e6


# --- outside of what it was trained for -------------------------------------------------------------


INSIDE = Scenario(
    num_devices=60, bits_per_device=1, pilot_length=20, num_antennas=4, activity_prob=0.1, snr_db=0.0
)  # fmt: skip
OUTSIDE = {
    "num_devices": ({"num_devices": 49}, "num_devices=49, trained for 50 to 220"),
    "many devices": ({"num_devices": 221}, "num_devices=221"),
    "pilots_per_device": ({"bits_per_device": 0}, "pilots_per_device=1, trained for 2 to 4"),
    "many pilots": ({"bits_per_device": 3}, "pilots_per_device=8"),
    "pilot_length": ({"pilot_length": 11}, "pilot_length=11, trained for 12 to 64"),
    "long pilots": ({"pilot_length": 65}, "pilot_length=65"),
    "num_antennas": ({"num_antennas": 1}, "num_antennas=1, trained for 2 to 16"),
    "many antennas": ({"num_antennas": 17}, "num_antennas=17"),
    "activity_prob": ({"activity_prob": 0.04}, "activity_prob=0.04, trained for 0.045 to 0.16"),
    "busy": ({"activity_prob": 0.17}, "activity_prob=0.17"),
    "snr_db": ({"snr_db": -7.1}, "snr_db=-7.1, trained for -7 to 11"),
    "loud": ({"snr_db": 11.5}, "snr_db=11.5"),
    "gains": (
        {"gain_law": PathLoss(), "gain_knowledge": "distribution"},
        "gains known by their distribution only, trained for known ones",
    ),
}


def warned(detector, scenario, **options):
    observation, _ = frames_of(scenario, 1, "outside", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.detect(observation)
    return [w for w in caught if issubclass(w.category, OutsideTrainingRangeWarning)]


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_scenario_outside_the_training_range_warns_and_says_what_is_outside(case):
    changes, words = OUTSIDE[case]
    (warning,) = warned(MAMPNet(replace_ranges(RANGES)), replace(INSIDE, **changes))
    assert words in str(warning.message)
    assert str(warning.message).count("trained for") == 2  # "is outside of what it was trained for", and one range
    assert warning.filename == __file__  # the line that asked for the detection


def replace_ranges(ranges):
    return Network(SHAPE, network().parameters, ranges)


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_quiet_detector_does_not_warn(case):
    changes, _ = OUTSIDE[case]
    assert warned(MAMPNet(network(), quiet=True), replace(INSIDE, **changes)) == []


@pytest.mark.parametrize("precision", ["complex64", "complex128"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_devices": 50}, {"num_devices": 220}, {"bits_per_device": 2}, {"pilot_length": 12}, {"pilot_length": 64},
        {"num_antennas": 2}, {"num_antennas": 16}, {"activity_prob": 0.045}, {"activity_prob": 0.16},
        {"snr_db": -7.0}, {"snr_db": 11.0}, {"gain_law": PathLoss()},
    ],
)  # fmt: skip
def test_nothing_is_warned_inside_the_range_ends_included(changes, precision):
    assert warned(MAMPNet(network()), replace(INSIDE, **changes), precision=precision) == []


def test_everything_that_is_outside_is_named_in_one_warning():
    (warning,) = warned(MAMPNet(network()), replace(INSIDE, num_devices=30, snr_db=20.0))
    assert "num_devices=30" in str(warning.message)
    assert "snr_db=20" in str(warning.message)


def test_a_network_trained_for_laws_of_gains_takes_known_ones_without_a_word():
    detector = MAMPNet(replace_ranges(replace(RANGES, gain_knowledge="distribution")))
    unknown = replace(INSIDE, gain_law=PathLoss(), gain_knowledge="distribution")
    assert warned(detector, unknown) == []


def test_a_network_of_one_set_of_pilots_warns_of_others():
    observation, _ = frames_of(INSIDE, 1, "outside")
    detector = MAMPNet(replace_ranges(replace(RANGES, pilots_digest=pilots_digest(observation.pilots))))
    assert warned(detector, INSIDE) == []
    other, _ = frames_of(INSIDE, 1, "other pilots")
    with pytest.warns(OutsideTrainingRangeWarning, match="other pilots, trained for one set of pilots"):
        detector.detect(other)


def test_a_network_that_was_not_trained_never_warns():
    assert warned(MAMPNet(replace_ranges(None)), replace(INSIDE, num_devices=10, snr_db=30.0)) == []


@pytest.mark.parametrize("kind", ["known", "distribution"])
def test_the_shipped_networks_are_trained_for_more_than_the_range_that_was_asked_for(kind):
    t = load(SHIPPED / kind).trained_for
    asked = {
        "num_devices": (60, 200), "pilots_per_device": (2, 4), "pilot_length": (14, 60), "num_antennas": (2, 16),
        "activity_prob": (0.05, 0.15), "snr_db": (-6, 10),
    }  # fmt: skip
    for name, (low, high) in asked.items():
        assert getattr(t, name)[0] <= low, name
        assert getattr(t, name)[1] >= high, name

"""Names on the command line: what builds, what is refused, and how the refusal helps."""

from dataclasses import dataclass

import pytest

from wirelesslab.mmtc import ACTIVITY_LAWS, CODEBOOKS, FADINGS, GAIN_LAWS, Kronecker, Rayleigh, Rician, UniformGainDb
from wirelesslab.mmtc.detectors import DETECTORS, named
from wirelesslab.naming import build, slug


@dataclass(frozen=True)
class Kettle:
    """A class with a field of each kind."""

    litres: int = 1
    power_w: float = 2000.0
    lid: bool = True
    colour: str = "red"


@pytest.mark.parametrize(
    ("name", "written"),
    [("OMP one per device", "omp-one-per-device"), ("AMP_block", "amp-block"), ("  AMP,  row ", "amp-row")],
)
def test_a_name_is_written_in_lower_case_with_hyphens(name, written):
    assert slug(name) == written


@pytest.mark.parametrize(
    ("family", "text", "law"),
    [
        (FADINGS, "rayleigh", Rayleigh()),
        (FADINGS, "Rician", Rician()),
        (FADINGS, "rician:k_factor_db=3", Rician(k_factor_db=3.0)),
        (FADINGS, "kronecker:correlation_coefficient=0.7", Kronecker(correlation_coefficient=0.7)),
        (GAIN_LAWS, "uniform-gain-db:low_db=-5;high_db=5", UniformGainDb(low_db=-5.0, high_db=5.0)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_law_is_built_from_its_name_and_numbers(family, text, law):
    assert build(family, text, name="law") == law


@pytest.mark.parametrize("family", [CODEBOOKS, FADINGS], ids=["codebooks", "fadings"])
def test_every_law_with_defaults_is_built_from_its_name_alone(family):
    for member in family:
        assert build(family, member.__name__.lower(), name="law") == member()


def test_values_take_the_kind_of_the_default():
    built = build([Kettle], "kettle: litres=2; power_w=5; lid=False; colour=blue", name="kettle")
    assert built == Kettle(litres=2, power_w=5.0, lid=False, colour="blue")
    assert isinstance(built.power_w, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reyleigh", r"fading: got 'reyleigh', expected one of .*did you mean 'rayleigh'\?"),
        (
            "rician:k_factor=3",
            r"fading: got 'k_factor=3' .*expected one of k_factor_db=….*did you mean 'k_factor_db'\?",
        ),
        ("rician:k_factor_db", r"fading: got 'k_factor_db' in .*expected one of k_factor_db=…"),
        ("rician:k_factor_db=loud", r"fading: k_factor_db: got 'loud', expected a value such as 6"),
        ("rayleigh:k_factor_db=3", r"fading: got .*expected one of no option"),
        ("", r"fading: got '', expected one of rayleigh"),
    ],
)
def test_a_law_that_cannot_be_built_is_refused_with_what_could_be(text, message):
    with pytest.raises(ValueError, match=message):
        build(FADINGS, text, name="fading")


@pytest.mark.parametrize("text", ["litres=1.5", "lid=yes", "power_w="])
def test_a_value_of_the_wrong_kind_is_refused(text):
    with pytest.raises(ValueError, match=r"kettle: .*expected a value such as"):
        build([Kettle], f"kettle:{text}", name="kettle")


def test_a_law_that_lacks_a_value_says_which():
    with pytest.raises((TypeError, ValueError), match=r"activity_law: .*path"):
        build(ACTIVITY_LAWS, "activitytrace", name="activity_law")


def test_every_detector_of_the_family_is_found_by_its_name():
    assert named([detector.name for detector in DETECTORS]) == DETECTORS


def test_detectors_have_different_names():
    assert len({slug(detector.name) for detector in DETECTORS}) == len(DETECTORS)


def test_an_unknown_detector_is_told_the_nearest_one():
    with pytest.raises(ValueError, match=r"detectors: got 'covarience', .*did you mean 'covariance'\?"):
        named(["covarience"])

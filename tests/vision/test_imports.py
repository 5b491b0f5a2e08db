"""The vision wing is looked at without waiting for TensorFlow."""

import pkgutil

import wirelesslab.vision
from tests.test_house import HEAVY, loaded_by

MODULES = sorted(m.name for m in pkgutil.walk_packages(wirelesslab.vision.__path__, "wirelesslab.vision."))


def test_no_module_of_the_vision_wing_loads_tensorflow_when_it_is_imported():
    assert {"wirelesslab.vision.classification", "wirelesslab.vision.keras_files"} <= set(MODULES)
    assert loaded_by(f"import {', '.join(MODULES)}").isdisjoint({*HEAVY, "sklearn", "PIL"})

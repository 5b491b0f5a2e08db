"""The cell in which `sims/models_travel.py` lets models travel: what it counts is what its link can carry."""

import numpy as np
import pytest
from wirelesslab_sims._models_in_a_cell import EITHER, Cell, first_answers, session
from wirelesslab_sims._models_to_travel import Trained

from tests.services.inference_cells import sized
from wirelesslab.services import Release, ServedModel

CELL = Cell(
    clients=4, rate_per_s=20.0, deadline_s=0.1, session_s=2.0, device_operations_per_s=1e8, edge_operations_per_s=5e8
)
IMAGES = sized(300, 500)
SERVED = ServedModel("net", 1e6, np.array([True, False]), np.full(2, 30), accuracy=0.5)
MODEL = Trained(SERVED, Release.of_bytes("net", "1", bytes(40_000)), 10_000)


@pytest.mark.parametrize("way", ["edge, net", "device, net", EITHER])
@pytest.mark.parametrize("rate_bps", [1e5, 1e7])
def test_a_session_s_bytes_are_those_that_the_link_carried_and_never_more_than_it_can(way, rate_bps):
    found = session(CELL, IMAGES, [MODEL], way, rate_bps, 1)
    most = 2 * rate_bps * (CELL.session_s + 1.0) / 8e6  # there and back
    assert 0 < found["megabytes"] <= most
    assert found["gap_s"] == 0
    if rate_bps == 1e7:  # all that was sent was carried
        assert found["right_in_time"] > 0.3
        if way == "device, net":
            assert found["megabytes"] * 1e6 > CELL.clients * 40_000


def test_first_answers_are_waited_for_however_slow_the_link_is_and_files_travel_to_the_byte():
    model = Trained(SERVED, Release.of_bytes("net", "1", bytes(50)), 10)
    _, _, edge_s, beyond = first_answers(CELL, IMAGES, model, 60.0, 1)
    assert beyond == 0
    # four images of 300 or 500 bytes, one after another: the mean comes with the second or third
    assert edge_s > 2 * 300 * 8 / 60

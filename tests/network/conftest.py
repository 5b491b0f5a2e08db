"""Every network that a test runs, and every radio, is held to conservation and Little's law."""

import pytest

from wirelesslab.network.active_set import ActiveSetAccess
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.simulation import Network
from wirelesslab.network.slots import SlotAccess


@pytest.fixture(autouse=True)
def _nothing_is_lost_or_invented(monkeypatch):
    """Check each network at the end of each of its runs, and each radio when its test is over."""
    run = Network.run

    def checked(self, until_s):
        result = run(self, until_s)
        self.check()
        return result

    monkeypatch.setattr(Network, "run", checked)
    radios = []
    for kind in (SlotAccess, FlowAccess, ActiveSetAccess):
        begin = kind.__init__

        def noted(self, *args, _begin=begin, **kwargs):
            _begin(self, *args, **kwargs)
            radios.append(self)

        monkeypatch.setattr(kind, "__init__", noted)
    yield
    for radio in radios:
        radio.account().check()

"""`TwinSync`: sync rates of many twins under a budget, on the simulator: messages are flows in a slice.

rules: `twin_sync_rules.Uniform`, `.PowerTold`, `.PowerMeasured`, `.AgeAware`
"""

from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.sync_rates import rows_of
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import MIOT
from wirelesslab.network.tasks.task import SOURCES, Source, begun, checked_box, same_setting, seed_of
from wirelesslab.network.tasks.twin_sync_reduced import WHAT, Table
from wirelesslab.network.tasks.twin_sync_setting import OLDEST_S, RATE, SyncSetting
from wirelesslab.network.topology import line
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.sync import RatedSync
from wirelesslab.network.twins.walk_twins import WalkTwins

TWINS, AGENT = "walk-twins", "sync-agent"
LINK_BPS, DISTANCE_M, UPDATE_BYTES, HEADER_BYTES = 10e6, 20e3, 60, 40  # our choice: 0.18 ms a message


class TwinSync(gymnasium.Env[Any, Any]):
    """Divide a budget of sync rates among twins whose importance is not told, on the simulator.

    Things wander about a gNB ("edge-1" of a line of two nodes); their twins live at the far end of its link, and each
    message is a flow of 100 bytes in the slice "miot". Rates are set by `SetSync`, which the network checks against
    the budget, carries out and records. Weights and ages at the beginning are those of `TwinSyncReduced` of the same
    seed; the messages' instants are not.

    State: the network, its twins with their weights w_i (m^2/s, lognormal, drawn for each episode), what has been
    measured.
    Action: `SyncSetting.actions`, a number in [0, 1] for each twin; f_i = budget spread^a_i / sum_j spread^a_j is its
    rate (1/s) for the next `step_s` seconds. The budget is used exactly.
    Transition: the network lives for `step_s`; a step holds budget times `step_s` messages on average (4 by default).
    Observation: `SyncSetting.observations`, as `source` says: for each twin its age, its rate in force, the mean of
    measured squared strayings per second in dB re 1 m^2/s, and how many it is a mean of.
    Reward: minus the mean over twins and over the step of w_i age_i, the mean squared error of what is known, in m^2;
    ages are exact and hold the time that messages take.
    Cost (`info["cost"]`): "old", the share of twins older than `old_s` at the step's end; "lost", messages lost in the
    step.
    Horizon: `num_steps`, then truncated; nothing terminates. A discount of 0 to 0.9 does.

    Args:
        setting: Of the task; what it charges are "ages".
        source: "fresh": the agent sits where the twins are and sees what they know. "aged": it is shown what they
            knew `aged_s` ago. "physical": it sits at the gNB and sees how far each thing strays in each step, told or
            not. "none": it sees its own rates, and nothing else.
        aged_s: How old what is seen is, rounded to whole steps, when `source` is "aged".
    """

    metadata: Mapping[str, Any] = {"render_modes": []}  # type: ignore[assignment]

    def __init__(self, setting: SyncSetting | None = None, *, source: Source = "fresh", aged_s: float = 1.0) -> None:
        self.setting = setting or SyncSetting()
        check.one_of(SOURCES, source=source)
        check.within(0, OLDEST_S, aged_s=aged_s)
        if self.setting.charge != "ages":
            msg = f"charge: got {self.setting.charge!r}, expected 'ages': on the simulator, what came about is charged"
            raise ValueError(msg)
        self.source, self._behind = source, round(aged_s / self.setting.step_s) if source == "aged" else 0
        self.observation_space, self.action_space = self.setting.observations, self.setting.actions
        self._box, self._interface = self.setting.actions, self.setting.interface
        self._drawn = Table(self.setting, 1)
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """The network of the running episode.

        Raises:
            RuntimeError: There is none before the first reset.
        """
        return begun(self._network)

    @property
    def twins(self) -> WalkTwins:
        """The twins of the running episode."""
        twins = self.network.actors[TWINS]
        assert isinstance(twins, WalkTwins)
        return twins

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of this episode, m^2/s, shape (num_twins,): for judges and for rules that are told."""
        return self.twins.weights.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode: weights are drawn, ages are as after long at equal rates, nothing has been measured."""
        super().reset(seed=seed)
        del options
        setting, number = self.setting, seed_of(self, seed)
        self._drawn.sit_down([number])
        self._drawn.begin(np.zeros(1, np.int64))
        weights, ages_s = self._drawn.games.weight[0], self._drawn.games.age[0]
        network = Network(
            line(num_links=1, rate_bps=LINK_BPS, distance_m=DISTANCE_M), (MIOT,), seed=number, report_s=1e9
        )
        carriage = Carriage(slice="miot", num_bytes=UPDATE_BYTES, header_bytes=HEADER_BYTES)
        equal = (setting.budget_per_s / setting.num_twins,) * setting.num_twins
        network.add(
            WalkTwins(
                weights.tolist(), RatedSync(rates_per_s=equal, budget_per_s=setting.budget_per_s), carriage,
                source="edge-1", at="edge-2", memory=setting.memory, ages_s=ages_s.tolist(), name=TWINS,
            )
        )  # fmt: skip
        self._network, self._steps = network, 0
        self._areas, self._lost = np.zeros(setting.num_twins), 0
        self._strayed, self._heard = np.zeros((2, setting.num_twins))  # as seen at the gNB
        self._places = self.twins.truth_m() if self.source == "physical" else np.zeros((setting.num_twins, 2))
        seen = self._look()
        self._past = deque([seen], maxlen=self._behind + 1)
        return seen, {}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Set the rates and let the network live for `step_s` seconds.

        Raises:
            ValueError: The action is not of `action_space`; nothing has happened.
        """
        network, twins, setting = self.network, self.twins, self.setting
        for wish in self._interface.actions(checked_box(self._box, action, WHAT)):
            network.apply(wish, by=AGENT)
        self._steps += 1
        network.agenda.run(self._steps * setting.step_s)
        now_s, mirror = network.now_s, twins.mirror
        areas, lost = mirror.age_integrals(now_s), twins.bag.lost_messages
        reward = -float(twins.weights @ (areas - self._areas)) / (setting.num_twins * setting.step_s)
        old = float(np.count_nonzero(mirror.ages_s(now_s) > setting.old_s) / setting.num_twins)
        info = {"reward": {"error (m^2)": reward}, "cost": {"old": old, "lost": float(lost - self._lost)}}
        self._areas, self._lost = areas, lost
        if self.source == "physical":
            self._watch()
        self._past.append(self._look())
        return self._shown(), reward, False, self._steps >= setting.num_steps, info

    def _watch(self) -> None:
        """See how far each thing has strayed in this step."""
        places = self.twins.truth_m()
        strayed = np.square(places - self._places).sum(axis=1) / self.setting.step_s
        self._strayed = self.setting.memory * self._strayed + strayed
        self._heard = self.setting.memory * self._heard + 1
        self._places = places

    def _look(self) -> NDArray[np.float32]:
        """Return what is to be seen now."""
        twins, physical = self.twins, self.source == "physical"
        seen = np.zeros((self.setting.num_twins, 4), np.float32)
        seen[:, RATE] = twins.rates_per_s
        if self.source == "none":
            return seen
        view = twins.view()
        if physical:
            told = replace(view.syncs[TWINS], strayed=tuple(self._strayed.tolist()), heard=tuple(self._heard.tolist()))
            return rows_of(told)
        return self._interface.observe(view)

    def _shown(self) -> NDArray[np.float32]:
        """Return what is shown: of a while ago if `source` says so; an agent knows its own rates at once."""
        shown = self._past[0].copy()
        shown[:, RATE] = self._past[-1][:, RATE]
        return shown

    def snapshot(self) -> Mapping[str, Any]:
        """Return the network as it is written down, and what the task keeps beside it."""
        network = self.network.snapshot()
        kept = (self._steps, self._areas, self._lost, self._strayed, self._heard, self._places, self._past)
        generator = self.np_random.bit_generator.state  # of the seeds of episodes to come
        return {
            "of": self._of(), "network": network, "kept": deepcopy(kept), "generator": generator,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` returned, to the last bit.

        Raises:
            ValueError: It is of another setting or source.
        """
        same_setting(snapshot, self._of())
        self._network = Network.restored(snapshot["network"])
        kept = deepcopy(snapshot["kept"])
        self.np_random.bit_generator.state = snapshot["generator"]
        self._steps, self._areas, self._lost, self._strayed, self._heard, self._places, self._past = kept

    def _of(self) -> dict[str, str]:
        return {"setting": repr(self.setting), "source": f"{self.source}, {self._behind} steps late"}

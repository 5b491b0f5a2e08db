"""Admission is learned: in seconds half of what complete sharing loses, and exactly on from a checkpoint."""

import contextlib
from dataclasses import replace

import numpy as np

from wirelesslab.network.learners import Keep
from wirelesslab.network.tasks.admission_judgement import gap_reached
from wirelesslab.network.tasks.admission_setting import LOPSIDED
from wirelesslab.network.tasks.admission_training import LEARNER, any_station, one_station, train_admission


def test_a_short_training_already_reaches_half_of_the_gap():
    setting = one_station(LOPSIDED)
    learner = replace(LEARNER, warmup_steps=5_000, batch_size=256)
    policy = train_admission(setting, seed=1, steps=50_000, learner=learner)
    assert policy.task == "wirelesslab/Admission-v0"
    assert gap_reached(policy, setting, LOPSIDED).reached > 0.5


def test_a_training_that_was_cut_off_goes_on_to_the_last_bit(tmp_path):
    setting = any_station()
    learner = replace(LEARNER, warmup_steps=1_000, batch_size=32, capacity=4_000, hidden=(8,))

    class CutOff(Exception):
        pass

    def cut(progress):
        if progress.step >= 3_000:
            raise CutOff

    keep = Keep(path=tmp_path / "half", every_steps=1_000)
    whole = train_admission(setting, seed=3, steps=5_000, learner=learner)
    with contextlib.suppress(CutOff):
        train_admission(setting, seed=3, steps=5_000, learner=learner, keep=keep, show=cut)
    assert keep.exists
    resumed = train_admission(setting, seed=3, steps=5_000, learner=learner, keep=keep)
    assert resumed.net.digest == whole.net.digest
    seen = np.zeros((1, setting.sight.size), np.float32)
    assert resumed.act_many(seen) == whole.act_many(seen)

"""Learners: DQN, PPO and SAC, which know spaces and rewards and nothing of networks.

TensorFlow trains; what comes out, a `Trained` policy, is arrays that NumPy evaluates.
"""

from wirelesslab.network.learners.dqn import DQN
from wirelesslab.network.learners.evaluation import evaluate
from wirelesslab.network.learners.keeping import Keep
from wirelesslab.network.learners.policies import Interface, Trained, load_policy, save_policy
from wirelesslab.network.learners.ppo import PPO
from wirelesslab.network.learners.sac import SAC
from wirelesslab.network.learners.training import hold_to_one_thread, train
from wirelesslab.network.learners.watching import Progress

__all__ = [
    "DQN",
    "PPO",
    "SAC",
    "Interface",
    "Keep",
    "Progress",
    "Trained",
    "evaluate",
    "hold_to_one_thread",
    "load_policy",
    "save_policy",
    "train",
]

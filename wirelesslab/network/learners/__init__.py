"""Learners: DQN, PPO and SAC, which know spaces and rewards and nothing of networks."""

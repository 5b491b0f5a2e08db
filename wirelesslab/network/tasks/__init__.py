"""Tasks: what an agent can be asked to do on a network, as Gymnasium and PettingZoo environments."""

"""Training by batches in random order, with checkpoints from which it goes on to the same bits."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import Data
from wirelesslab.vision.method import Epoch, Fit, State, Trainable
from wirelesslab.vision.saving import Checkpoint, Keeping, load_checkpoint, save_checkpoint


def fit_epochs(
    method: Trainable, state: State, data: Data, seed: int, *, epochs: int, batch_size: int,
    purpose: tuple[str, ...] = (), keep: Keeping | None = None, truth: str = "", last_step: int | None = None,
    noted: Sequence[str] = ("accuracy", "right", "images"), judge_every: int = 1,
) -> Fit:  # fmt: skip
    """Train by batches in random order; note loss and validation scores after each epoch.

    Args:
        method: What learns.
        state: Where to start.
        data: With a split "train"; "validation" is judged.
        seed: Of the order of images.
        epochs: Passes over the training images.
        batch_size: Images per step; what does not fill a batch at an epoch's end is left out of it.
        purpose: Goes before the names of random streams, so that two trainings of one seed differ in order.
        keep: Where to write checkpoints; when there is one already, training goes on from it, and comes to the same
            bits as if it had never stopped. None writes nothing.
        truth: The name of what is learned, in `data.truth`; labels when empty.
        last_step: The state's step at which training ends, if the epochs have not ended before.
        noted: Which scores of validation go into the history.
        judge_every: Epochs between two judgements of validation; the last is always judged.

    Raises:
        WeightFileError: The checkpoint that is there is damaged or of another training.
    """
    train = data.only("train")
    check.positive_integer(training_images=len(train), judge_every=judge_every)
    if truth:
        check.one_of(train.truth, truth=truth)
    targets = train.truth[truth] if truth else train.labels
    size = min(batch_size, len(train))
    run: dict[str, Any] = {}
    if keep is not None:
        run = {"seed": seed} | {name: data.only(name).digest() for name in data.splits if name != "test"}
        if truth:
            known = [
                np.ascontiguousarray(data.truth[truth][data.splits[name]]) for name in data.splits if name != "test"
            ]
            run |= {truth: sha256(b"".join(part.tobytes() for part in known)).hexdigest()}
    now = Checkpoint(state, cursor={"epoch": 0, "place": 0})
    if keep is not None and keep.exists:
        now = load_checkpoint(keep.path, method, run)
    state, history, losses = now.state, list(now.history), list(now.losses)
    for epoch in range(now.cursor["epoch"], epochs):
        order = stream(seed, *purpose, "order", epoch).permutation(len(train))
        begin = now.cursor["place"] if epoch == now.cursor["epoch"] else 0
        for first in range(begin, len(train) - size + 1, size):
            step = int(state.numbers["step"])
            if step == last_step:
                break
            if keep is not None and step % keep.every_steps == 0 and step:
                cursor = {"epoch": epoch, "place": first}
                now = Checkpoint(state, {}, cursor, tuple(history), tuple(losses))
                save_checkpoint(keep.path, now, method, run)
            places = order[first : first + size]
            batch: tuple[NDArray[Any], NDArray[Any]] = train.images[places], targets[places]
            found = method.gradients(state, batch, stream(seed, *purpose, "step", step))
            state = method.apply(state, found)
            losses.append(found.loss)
        if not losses:  # the last step was the last of the epoch before
            break
        ended = epoch + 1 == epochs or int(state.numbers["step"]) == last_step
        scores, losses = {"loss": float(np.mean(losses))}, []
        if len(data.splits.get("validation", ())) and (ended or (epoch + 1) % judge_every == 0):
            judged = method.evaluate(state, data.only("validation"))
            scores |= {f"validation {name}": judged[name] for name in noted}
        history.append(Epoch(int(state.numbers["step"]), scores))
    if keep is not None:
        save_checkpoint(keep.path, Checkpoint(state, {}, {"epoch": epochs, "place": 0}, tuple(history)), method, run)
    return Fit(state, tuple(history))

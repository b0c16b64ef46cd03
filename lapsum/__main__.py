"""Learn to read handwritten digits from order alone: ``python -m lapsum``.

A small network gives every image one number, its score. It is shown lists of five images and told
only their true order, never which digits they are. The soft ranks of the five scores are compared
with the true ranks, and ``lapsum.vjp`` carries the error back from the ranks to the scores.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise

import numpy as np

from lapsum import soft_rank, vjp

LENGTH = 5  # images in a list, all of different digits
BATCH = 64  # lists in a training step
HELD_OUT_LISTS = 5000
# Only score / alpha counts, and the network learns whatever spread of scores it needs, so alpha
# just sets the unit. 1 is more than the spread of an untrained network's scores: every image feels
# all the others at first, and as the spread grows the ranks harden, without a schedule.
ALPHA = 1.0
LEARNING_RATE = 0.008
DROPOUT = 0.2
SHIFTS = {0: 0.7, -1: 0.15, 1: 0.15}  # pixels a training image is moved sideways, and how often


def load(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and digits to train on, then the held-out ones; no image is in both."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16 - 0.3).astype(np.float32)  # roughly centred
    train_on, hold_out = np.split(rng.permutation(len(images)), [int(0.8 * len(images))])
    return images[train_on], bunch.target[train_on], images[hold_out], bunch.target[hold_out]


def lists(digits: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw lists of images of different digits: indices into ``digits``, (count, LENGTH)."""
    by_digit = np.argsort(digits, kind="stable")
    sizes = np.bincount(digits)
    starts = np.cumsum(sizes) - sizes
    chosen = np.argsort(rng.random((count, len(sizes))), axis=1)[:, :LENGTH]
    indices: np.ndarray = by_digit[starts[chosen] + rng.integers(sizes[chosen])]
    return indices


def hard_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 to n along the last axis."""
    return np.argsort(np.argsort(values, axis=-1), axis=-1) + 1


class Network:
    """Image -> score: two hidden layers of rectified units, in float32."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, ...] = (64, 128, 64, 1)):
        self.weights = [
            (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32)
            for shape in pairwise(sizes)
        ]
        self.biases = [np.zeros(size, np.float32) for size in sizes[1:]]

    def score(self, images: np.ndarray) -> np.ndarray:
        """One score an image."""
        return self.vjp(images)[0]

    def vjp(
        self, images: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, Callable[[np.ndarray], list[np.ndarray]]]:
        """Scores, and the pullback to weights and biases; with ``rng``, units drop out."""
        inputs, slopes = [images.reshape(len(images), -1)], []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            before = inputs[-1] @ weight + bias
            slope = (before > 0).astype(np.float32)
            if rng is not None:
                slope *= (rng.random(slope.shape, np.float32) >= DROPOUT) / np.float32(1 - DROPOUT)
            slopes.append(slope)
            inputs.append(before * slope)
        scores = inputs[-1] @ self.weights[-1] + self.biases[-1]

        def pullback(scores_bar: np.ndarray) -> list[np.ndarray]:
            bar = scores_bar.astype(np.float32)[:, None]
            weights_bar: list[np.ndarray] = []
            biases_bar: list[np.ndarray] = []
            for layer in reversed(range(len(self.weights))):
                weights_bar.insert(0, inputs[layer].T @ bar)
                biases_bar.insert(0, bar.sum(axis=0))
                if layer > 0:
                    bar = bar @ self.weights[layer].T * slopes[layer - 1]
            return weights_bar + biases_bar

        return scores[:, 0].astype(float), pullback


def adam(parameters: list[np.ndarray], steps: int) -> Callable[[list[np.ndarray]], None]:
    """Adam, its learning rate falling to zero along a cosine; it changes the arrays in place."""
    means = [np.zeros_like(parameter) for parameter in parameters]
    squares = [np.zeros_like(parameter) for parameter in parameters]
    step = 0

    def update(gradients: list[np.ndarray]) -> None:
        nonlocal step
        step += 1
        rate = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        state = zip(parameters, means, squares, gradients, strict=True)
        for parameter, mean, square, gradient in state:
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            parameter -= rate * mean / (1 - 0.9**step) / size

    return update


def train(
    network: Network, images: np.ndarray, digits: np.ndarray, steps: int, rng: np.random.Generator
) -> Iterator[float]:
    """Train in place, yielding each step's loss: the mean squared error of the soft ranks."""
    moved = np.stack([np.roll(images, pixels, axis=2) for pixels in SHIFTS])
    update = adam(network.weights + network.biases, steps)
    for _ in range(steps):
        # All that is ever made of the labels: lists of different digits, and their true order.
        chosen = lists(digits, BATCH, rng)
        truth = hard_ranks(digits[chosen])

        shift = rng.choice(len(SHIFTS), size=chosen.size, p=list(SHIFTS.values()))
        scores, to_parameters = network.vjp(moved[shift, chosen.ravel()], rng)
        ranks, to_scores = vjp(soft_rank, scores.reshape(chosen.shape), ALPHA)
        error = ranks - truth
        scores_bar, _ = to_scores(2 * error / error.size)
        update(to_parameters(scores_bar.ravel()))
        yield float(np.mean(error**2))


def evaluate(scores: np.ndarray, digits: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Share of lists whose whole order is right, and share of positions that are right."""
    right = hard_ranks(scores[chosen]) == hard_ranks(digits[chosen])
    return float(right.all(axis=1).mean()), float(right.mean())


def plot(
    file: str,
    images: np.ndarray,
    digits: np.ndarray,
    chosen: np.ndarray,
    scores: np.ndarray,
    curve: list[tuple[int, float, float]],
) -> None:
    """Save a picture of what was learnt: some sorted lists, the scores, the progress."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(12, 6.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    panels = figure.subplot_mosaic([["lists", "scores"], ["lists", "curve"]])

    axes = panels["lists"]
    right = hard_ranks(scores[chosen]) == hard_ranks(digits[chosen])
    # The first four lists as they come, and the next one with a mistake in it.
    rows = [0, 1, 2, 3, 4 + int(np.argmin(right[4:].all(axis=1)))]
    for y, row in enumerate(rows):
        for x, position in enumerate(np.argsort(scores[chosen[row]])):
            image = chosen[row, position]
            extent = (x - 0.35, x + 0.35, y + 0.35, y - 0.35)
            axes.imshow(images[image], cmap="gray_r", extent=extent)
            colour = "black" if right[row, position] else "red"
            axes.text(x, y + 0.38, f"{scores[image]:.1f}", color=colour, ha="center", va="top")
    axes.set(xlim=(-0.5, LENGTH - 0.5), ylim=(len(rows) - 0.35, -0.5), xlabel="rank by score")
    axes.set_xticks(range(LENGTH), [f"{rank + 1}" for rank in range(LENGTH)])
    axes.set_yticks(range(len(rows)), [f"list {row + 1:,}" for row in rows])
    axes.set_title("Held-out lists sorted by score (red: misplaced)")

    axes = panels["scores"]
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(digits))
    axes.scatter(digits + jitter, scores, s=8, c=digits, cmap="tab10")
    axes.set_yscale("symlog", linthresh=1)  # digits at the ends are pushed far out
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xticks=range(10), xlabel="digit, which the network is never told", ylabel="score")
    axes.set_title("Score of every held-out image")

    axes = panels["curve"]
    steps, exact, element_wise = np.array(curve).T
    axes.plot(steps, 100 * element_wise, label="element-wise")
    axes.plot(steps, 100 * exact, label="exact")
    axes.set(xlabel="training step", ylabel="right, %", ylim=(0, 102))
    axes.set_title("Held-out lists in the right order")
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=150)


def require(*modules: str) -> None:
    """Exit with one sentence if a module that only this demo needs is missing."""
    try:
        for module in modules:
            import_module(module)
    except ImportError as error:
        raise SystemExit(f"The demo needs `pip install 'lapsum[demo]'` ({error}).") from error


def options(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    about = (
        "Learn to read handwritten digits from order alone: train a small network on the true "
        "order of lists of five images, through lapsum's soft ranks, then measure how well it "
        "sorts images it has not seen. Takes about ten seconds."
    )
    parser = argparse.ArgumentParser(prog="python -m lapsum", description=about)
    add = parser.add_argument
    add("--steps", type=int, default=2500, help="training steps (default: %(default)s)")
    add("--seed", type=int, default=0, help="same seed, same figures (default: %(default)s)")
    add("--plot", metavar="FILE", help="save a picture of what was learnt, e.g. digits.png")
    arguments = parser.parse_args(argv)
    if arguments.steps < 1 or arguments.seed < 0:
        parser.error("--steps must be at least 1 and --seed at least 0")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Train, and print how many held-out lists come out in the right order."""
    arguments = options(argv)
    require("sklearn.datasets", "tqdm", *(["matplotlib.figure"] if arguments.plot else []))
    from threadpoolctl import threadpool_limits  # scikit-learn brings it
    from tqdm import tqdm

    rng = np.random.default_rng(arguments.seed)
    images, digits, unseen, unseen_digits = load(rng)
    sizes = (len(images) + len(unseen), len(images), len(unseen))
    print("Reading digits from order alone:", end=" ")
    print("{:,} images, {:,} to train on, {:,} held out".format(*sizes), flush=True)
    chosen = lists(unseen_digits, HELD_OUT_LISTS, rng)
    network = Network(rng)

    curve = [(0, *evaluate(network.score(unseen), unseen_digits, chosen))]
    losses = train(network, images, digits, arguments.steps, rng)
    pace = 0.1 if sys.stderr.isatty() else 10  # seconds: a log file gets a few lines only
    bar = tqdm(losses, "Training", arguments.steps, mininterval=pace, maxinterval=pace)
    # Matrices this small gain little from a second core, and lose a lot where it is busy.
    with threadpool_limits(1):
        for step, loss in enumerate(bar, 1):
            if step % 50 == 0 or step == arguments.steps:
                curve.append((step, *evaluate(network.score(unseen), unseen_digits, chosen)))
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

    print(f"On {len(chosen):,} held-out lists of {LENGTH} different digits, in the right order:\n")
    print(f"{'':10}{'exact':>10}{'element-wise':>15}")
    chance = (0, 1 / math.factorial(LENGTH), 1 / LENGTH)
    for name, row in {"chance": chance, "untrained": curve[0], "trained": curve[-1]}.items():
        print(f"{name:10}{row[1]:10.1%}{row[2]:15.1%}".replace("%", " %"))

    if arguments.plot:
        try:
            plot(arguments.plot, unseen, unseen_digits, chosen, network.score(unseen), curve)
        except (OSError, ValueError) as error:
            raise SystemExit(f"The picture could not be saved: {error}") from error
        print(f"\nPicture: {arguments.plot}")


if __name__ == "__main__":
    main()

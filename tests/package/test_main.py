"""The main job, short: it learns, it repeats itself, and says what it lacks."""

import sys
from importlib import import_module

import numpy as np
import pytest

main = import_module("lapsum.__main__")


def run(capsys, *argv):
    main.main(list(argv))
    return capsys.readouterr().out


def figures(out):
    lines = {line.split()[0]: line for line in out.splitlines() if "%" in line}
    return {
        name: [float(v) for v in line.replace("%", "").split()[1:]] for name, line in lines.items()
    }


def test_order_alone_is_enough_to_learn_from(capsys, tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "digits.png"
    out = run(capsys, "--steps", "150", "--plot", str(picture))
    found = figures(out)
    assert found["chance"] == [0.8, 20.0]
    assert found["untrained"][0] < 10
    assert found["trained"][0] > 30
    assert found["trained"][1] > 60
    assert picture.stat().st_size > 10_000
    assert figures(run(capsys, "--steps", "150")) == found


def test_lists_are_of_different_digits_and_splits_are_disjoint(rng):
    pytest.importorskip("sklearn")
    images, _, unseen, unseen_digits = main.load(rng)
    assert len(images) + len(unseen) == 1797
    assert not {v.tobytes() for v in images} & {v.tobytes() for v in unseen}
    chosen = main.lists(unseen_digits, 2000, rng)
    assert all(len(set(row)) == main.LENGTH for row in unseen_digits[chosen])


def test_the_network_s_pullback_is_its_gradient(rng):
    network = main.Network(rng, sizes=(4, 3, 1))
    network.weights = [weight.astype(float) for weight in network.weights]
    network.biases = [bias.astype(float) for bias in network.biases]
    images = rng.normal(size=(5, 2, 2))
    scores, pullback = network.vjp(images)
    bars = pullback(np.ones(5))
    for parameter, bar in zip(network.weights + network.biases, bars, strict=True):
        parameter[0] += 1e-6
        change = (network.score(images) - scores).sum() / 1e-6
        parameter[0] -= 1e-6
        assert change == pytest.approx(bar[0].sum(), rel=1e-5, abs=1e-5)


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(SystemExit, match=r"^The demo needs `pip install 'lapsum\[demo\]'`"):
        main.main(["--steps", "1"])

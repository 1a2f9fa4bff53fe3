import math

import numpy as np
import pytest
import torch

from mulde.density.energy import EnergyNet
from mulde.density.noise import fixed_noise
from mulde.density.objective import dsm_loss
from mulde.density.trainer import Training, train
from mulde.errors import FitError


def how(**changes):
    settings = {
        "steps": 60,
        "batch_size": 64,
        "lr": 3e-3,
        "schedule": "constant",
        "beta": 0.1,
        "sigma_low": 1e-3,
        "sigma_high": 1.0,
        "eval_every": 20,
        "patience": 5,
        "seed": 0,
    }
    return Training(**settings | changes)


def new_net(num_features=2, seed=0):
    net = EnergyNet(num_features, (32, 32))
    net.initialise(torch.Generator().manual_seed(seed))
    return net


def rows(n=400, d=2, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_same_seed_gives_the_same_weights_and_global_random_state_is_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    nets = [new_net(), new_net(), new_net()]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        train(net, rows(), rows(50, seed=1), how(seed=seed))
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_held_out_rows_do_not_change_the_path_only_where_it_ends():
    alone, watched = new_net(), new_net()
    train(alone, rows(), None, how(steps=40))
    result = train(watched, rows(), rows(50, seed=1), how(steps=40))
    assert result.best_step == 40
    assert torch.equal(weights(alone), weights(watched))


def test_training_lowers_the_held_out_loss():
    net, held = new_net(), rows(2048, seed=1)
    s, z = fixed_noise(2048, 2, 0.1, 1.0, seed=9)
    before = dsm_loss(net, held, s, z)
    train(net, rows(), None, how(steps=300, sigma_low=0.1))
    least = np.mean([0.5 * 2 * (1 - float(v) ** 2 / (1 + float(v) ** 2)) for v in s])  # of N(0, I), in closed form
    assert before > least + 0.1
    assert dsm_loss(net, held, s, z) < least + 0.03


def test_the_best_weights_are_kept_and_patience_ends_the_training():
    """Ten rows are soon learnt by heart: the held-out loss turns up, and what is kept is the minimum."""
    net, seen = new_net(8), []
    few, held = rows(10, 8), rows(500, 8, seed=1)
    settings = how(steps=4000, lr=1e-2, patience=3, sigma_low=0.3)
    result = train(net, few, held, settings, lambda step, total, loss, heldout: seen.append((step, heldout)))
    at_evaluations = {step: heldout for step, heldout in seen if step % 20 == 0}
    assert result.num_steps < 4000
    assert result.num_steps == result.best_step + 3 * 20
    assert result.heldout_loss == min(at_evaluations.values()) == at_evaluations[result.best_step]
    again = new_net(8)
    train(again, few, None, how(steps=result.best_step, lr=1e-2, sigma_low=0.3))
    assert torch.equal(weights(net), weights(again))


def test_progress_is_told_every_ten_steps_and_at_the_end():
    calls = []
    train(new_net(), rows(), rows(30, seed=1), how(steps=47), lambda *call: calls.append(call))
    assert [step for step, *_ in calls] == [10, 20, 30, 40, 47]
    assert {total for _, total, *_ in calls} == {47}
    assert [heldout is None for *_, heldout in calls] == [True, False, False, False, False]
    assert all(math.isfinite(loss) for _, _, loss, _ in calls)


def test_linear_schedule_ends_with_tiny_steps():
    moved = {}
    for schedule in ("constant", "linear"):
        early, late = new_net(), new_net()
        train(late, rows(), None, how(steps=60, schedule=schedule))
        settings = how(steps=60, schedule=schedule)
        snapshots = {}

        def keep(step, total, loss, heldout, net=early, into=snapshots):
            into[step] = weights(net).clone()

        train(early, rows(), None, settings, keep)
        moved[schedule] = float((snapshots[60] - snapshots[50]).norm())
    assert moved["linear"] < 0.3 * moved["constant"]


@pytest.mark.parametrize("bad_step", [1, 7, 34, 60])
def test_a_loss_that_is_not_finite_names_its_step(bad_step, monkeypatch):
    import mulde.density.trainer as trainer

    plain, calls = trainer.training_loss, []

    def poisoned(*args):
        calls.append(1)
        dsm, reg = plain(*args)
        return (dsm * math.nan if len(calls) == bad_step else dsm), reg

    monkeypatch.setattr(trainer, "training_loss", poisoned)
    with pytest.raises(FitError, match=rf"finite number, got nan at step {bad_step} of 60.*rate below 0\.003"):
        train(new_net(), rows(), None, how())


def test_a_training_that_blows_up_is_refused():
    with pytest.raises(FitError, match=r"expected a finite number, got (nan|inf) at step \d+ of 300"):
        train(new_net(), rows() * 1e19, None, how(steps=300))


def test_a_single_row_and_a_single_step():
    result = train(new_net(), rows(1), None, how(steps=1))
    assert (result.num_steps, result.best_step, result.heldout_loss) == (1, 1, None)

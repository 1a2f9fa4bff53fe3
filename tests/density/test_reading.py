import numpy as np
import pytest
import torch

from mulde.density import reading
from mulde.density.energy import EnergyNet
from mulde.density.reading import read_levels, rows_at_a_time

SIGMA = torch.linspace(0.001, 1, 16)


def make(precision=torch.float32):
    net = EnergyNet(3, (32, 16), precision=precision)
    net.initialise(torch.Generator().manual_seed(0))
    return net


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


@pytest.mark.parametrize("indicator", ["energy", "score_norm"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [0, 1, 7, 64, 65])
def test_pieces_are_put_together(indicator, precision, n, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_ROWS", 8)
    net = make(precision)
    x = torch.from_numpy(rows(n))
    out = read_levels(net, x.numpy(), SIGMA, indicator, torch.from_numpy)
    assert out.shape == (n, 16)
    for i, s in enumerate(SIGMA):
        level = torch.full((n, 1), float(s))
        with torch.no_grad():
            whole = net(x, level) if indicator == "energy" else net.gradient(x, level).square().sum(dim=1)
        np.testing.assert_allclose(
            out[:, i], whole.numpy(), rtol=1e-4, atol=4e-3 if precision == torch.bfloat16 else 1e-3
        )


def test_a_row_reads_the_same_to_the_last_bit_whatever_stands_beside_it():
    net, x = make(), rows(5000)
    whole = read_levels(net, x, SIGMA, "energy", torch.from_numpy)
    for piece in (slice(4999, 5000), slice(100, 4200), slice(3, 4)):
        assert (read_levels(net, x[piece], SIGMA, "energy", torch.from_numpy) == whole[piece]).all()


def test_fewer_rows_at_a_time_where_memory_is_short(monkeypatch):
    net = EnergyNet(512, (4096, 4096))
    plenty = rows_at_a_time(net, 16)
    assert plenty == 32  # 32 rows x 16 levels x 4096 numbers
    monkeypatch.setattr(reading, "memory_at_hand", lambda device: 10**8)
    few = rows_at_a_time(net, 16)
    assert 1 <= few < plenty
    assert few * 16 * 4096 * 4 * 8 <= 0.25 * 10**8
    monkeypatch.setattr(reading, "memory_at_hand", lambda device: 0)
    assert rows_at_a_time(net, 16) == 1


def test_weights_may_change_after_reading():
    """Copies in bfloat16 that are made once for a reading must not outlive it."""
    net = make(torch.bfloat16)
    before = read_levels(net, rows(5), SIGMA, "energy", torch.from_numpy)
    with torch.no_grad():
        net.weights[1].mul_(3)
    assert (read_levels(net, rows(5), SIGMA, "energy", torch.from_numpy) != before).any()

import functools

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


@pytest.mark.parametrize(
    ("num_columns", "hidden", "options"),
    [
        (1, (32,), {}),
        (3, (32, 16), {"precision": torch.bfloat16}),
        (8, (512, 512), {}),
        (34, (100, 70), {"layer_norm": True, "sigma_everywhere": True}),
        (512, (128, 128), {}),
    ],
)
@pytest.mark.parametrize("indicator", ["energy", "score_norm"])
def test_few_rows_read_as_if_they_were_many(num_columns, hidden, options, indicator, monkeypatch):
    """Few rows are padded to the least power of two; a row's bits are those of the same row among 256."""
    monkeypatch.setattr(reading, "_MAX_ROWS", 256)
    net = EnergyNet(num_columns, hidden, **options)
    net.initialise(torch.Generator().manual_seed(1))
    for vector in net.sigma_weights:
        torch.nn.init.constant_(vector, 0.3)
    assert rows_at_a_time(net, 16) == 256
    x = np.random.default_rng(2).normal(size=(300, num_columns)).astype(np.float32)
    read = functools.partial(read_levels, net, sigma=SIGMA, indicator=indicator, prepare=torch.from_numpy)
    with monkeypatch.context() as always:
        always.setattr(reading, "_padded_size", lambda num_rows, size, device: size)
        among_256 = read(rows=x)
    for num_rows in range(1, 301) if max(hidden) < 64 else (*range(1, 10), 16, 17, 33, 64, 100, 129, 257):
        first = (7 * num_rows) % (301 - num_rows)
        np.testing.assert_array_equal(read(rows=x[first : first + num_rows]), among_256[first : first + num_rows])


@pytest.mark.parametrize(("num_rows", "padded"), [(1, 8), (8, 8), (9, 16), (129, 256), (256, 256)])
def test_few_rows_are_padded_little(num_rows, padded):
    assert reading._padded_size(num_rows, 256, torch.device("cpu")) == padded
    assert reading._padded_size(num_rows, 256, torch.device("cuda")) == 256
    assert reading._padded_size(1, 4, torch.device("cpu")) == 4  # where memory is short


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

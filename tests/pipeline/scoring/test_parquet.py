import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulde.density.baselines import MixtureDensity
from mulde.errors import RecordError, StoreError
from mulde.pipeline.scoring import parquet as module
from mulde.pipeline.scoring.parquet import score_parquet


@pytest.fixture(scope="module")
def density():
    return MixtureDensity(components=2).fit(np.random.default_rng(0).normal(size=(300, 4)))


def write(path, values, group=10**6):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])
    pq.write_table(pa.table({"frame_index": np.arange(len(values)), "values": flat}), path, row_group_size=group)


@pytest.mark.parametrize(("n", "group", "piece"), [(0, 10, 64), (1, 10, 64), (1000, 300, 64), (1000, 10**6, 512)])
def test_scores_from_disk_are_those_of_the_rows(tmp_path, density, monkeypatch, n, group, piece):
    monkeypatch.setattr(module, "_BYTES_AT_A_TIME", piece)
    values, told = np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32), []
    write(tmp_path / "rows.parquet", values, group)
    count = score_parquet(density, tmp_path / "rows.parquet", tmp_path / "scores.parquet", advance=told.append)
    assert count == sum(told) == n
    scores = pq.read_table(tmp_path / "scores.parquet")["anomaly_score"].to_numpy()
    np.testing.assert_allclose(scores, density.anomaly_score(values), rtol=1e-9)


def test_bad_files_are_refused_and_leave_nothing(tmp_path, density):
    out = tmp_path / "scores.parquet"
    (tmp_path / "text.parquet").write_text("no table")
    write(tmp_path / "wide.parquet", np.zeros((5, 7), np.float32))
    pq.write_table(pa.table({"values": [1.0, 2.0]}), tmp_path / "flat.parquet")
    with pytest.raises(
        StoreError, match=r"text\.parquet cannot be read .* expected a Parquet file with a column values"
    ):
        score_parquet(density, tmp_path / "text.parquet", out)
    with pytest.raises(StoreError, match="cannot be read"):
        score_parquet(density, tmp_path / "nothing.parquet", out)
    with pytest.raises(StoreError, match="cannot be read"):
        score_parquet(density, tmp_path / "wide.parquet", out, column="other")
    with pytest.raises(StoreError, match="expected lists of float32, all as long, got double"):
        score_parquet(density, tmp_path / "flat.parquet", out)
    with pytest.raises(RecordError, match="expected 4 columns as in training, got 7"):
        score_parquet(density, tmp_path / "wide.parquet", out)
    assert not list(tmp_path.glob("*scores*"))

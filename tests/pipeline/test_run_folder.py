import pytest

from mulde.errors import UsageError
from mulde.pipeline.run_folder import check_single_run, seed_folders


def test_the_runs_of_several_seeds_are_in_order_and_refused_where_one_is_expected(tmp_path):
    for name in ("seed-10", "seed-2", "seed-0"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed-notes.txt").touch()
    assert [folder.name for folder in seed_folders(tmp_path)] == ["seed-0", "seed-2", "seed-10"]
    with pytest.raises(UsageError, match="holds several runs: expected one of them, got seed-0, seed-2, seed-10"):
        check_single_run(tmp_path)


def test_a_folder_with_scores_or_without_seeds_is_a_single_run(tmp_path):
    check_single_run(tmp_path)
    (tmp_path / "scores").mkdir()
    (tmp_path / "seed-1").mkdir()
    check_single_run(tmp_path)

"""The plugin that decides which tests run: shown on small suites in processes of their own."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MARKED = """
    import os
    import pytest

    @pytest.mark.data
    def test_marked():
        assert os.path.isdir(os.environ["SKELETON_PROMPT_DATASETS"])

    def test_by_fixture(datasets):
        assert datasets.is_dir()

    @pytest.mark.cases
    def test_recorded(cases):
        assert cases.is_dir()

    def test_unmarked():
        assert "SKELETON_PROMPT_DATASETS" not in os.environ
"""
LINE = "left out: {} tests that need the labelled datasets: set SKELETON_PROMPT_DATASETS to their folder"


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a suite with the plugin and the given variables."""

    def call(suite: str, *arguments: str, **variables: str) -> pytest.RunResult:
        for name in [name for name in os.environ if name.startswith("SKELETON_PROMPT_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"SKELETON_PROMPT_{name}", value)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        pytester.makeini("[pytest]\nmarkers =\n  data:\n  cases:\n  gpu:\n  services:\n  slow:\n")
        pytester.makepyfile(suite)
        return pytester.runpytest_subprocess(
            "-p", "tests.support.selection", "-p", "no:cacheprovider", "-rs", *arguments
        )

    return call


def test_without_the_folders_no_marked_test_runs_and_the_end_says_which_were_left_out(run):
    result = run(MARKED)
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["SKIPPED*[[]2]*SKELETON_PROMPT_DATASETS is not set*", LINE.format(2)])


def test_a_variable_that_names_no_folder_is_as_good_as_none(run, tmp_path):
    result = run(MARKED, DATASETS=str(tmp_path / "none"), CASES=str(tmp_path))
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines([f"SKIPPED*is not a folder: {tmp_path / 'none'}"])


def test_with_the_folders_everything_runs_and_unmarked_tests_do_not_see_them(run, tmp_path):
    result = run(MARKED, DATASETS=str(tmp_path), CASES=str(tmp_path), REQUIRE_DATA="1")
    result.assert_outcomes(passed=4)
    assert "left out" not in result.stdout.str()


def test_where_the_data_is_required_nothing_that_needs_it_may_be_skipped(run, tmp_path):
    run(MARKED, CASES=str(tmp_path), REQUIRE_DATA="1").assert_outcomes(passed=2, errors=2)
    suite = "import pytest\n\ndef test_gives_up(datasets):\n    pytest.skip('no set of this name')\n"
    result = run(suite, DATASETS=str(tmp_path), REQUIRE_DATA="1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SKELETON_PROMPT_REQUIRE_DATA is set, and the test was skipped*no set of this name*"])


def test_selection_by_marker_knows_what_follows_from_fixtures(run):
    run(MARKED, "-m", "not data and not cases").assert_outcomes(passed=1, deselected=3)
    suite = """
        import pytest

        @pytest.fixture
        def server():
            pass

        def test_with_a_server(server):
            pass

        @pytest.mark.parametrize("database", ["sqlite", "postgresql"])
        def test_of_databases(database):
            pass
    """
    run(suite, "-m", "services").assert_outcomes(passed=2, deselected=1)


@pytest.mark.parametrize("program", ["redis-server", "initdb"])
def test_a_service_that_is_started_without_the_marker_fails_the_test(run, tmp_path, program):
    fake = tmp_path / program
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    suite = f"""
        import subprocess
        import sys
        import pytest

        def test_starts_one():
            subprocess.run(["{fake}"], check=True)

        @pytest.mark.services
        def test_says_so():
            subprocess.run(["{fake}"], check=True)

        def test_of_a_short_interpreter():
            subprocess.run([sys.executable, "-c", ""], check=True)
    """
    result = run(suite)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines([f"*without the marker 'services': *{program}*"])


def test_a_gpu_test_is_left_out_where_there_is_none(run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = run("import pytest\n\n@pytest.mark.gpu\ndef test_of_a_gpu():\n    pass\n")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["left out: 1 tests that need a GPU*"])

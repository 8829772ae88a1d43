"""What produced a run is recorded, without secrets."""

import subprocess
from pathlib import Path

import pytest

from sweeps.tracking import provenance
from sweeps.tracking.provenance import provenance_tags, read_diff
from sweeps.tracking.secrets import blank_secrets


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with one commit of one file."""
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    (tmp_path / "model.py").write_text("width = 64\n")
    for command in (["init", "-q"], ["add", "model.py"], [*identity, "commit", "-qm", "A model"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def test_a_clean_commit_is_named_and_has_no_diff(source: Path) -> None:
    (source / "notes.txt").write_text("not tracked\n")
    tags = provenance_tags(source)
    assert len(tags["git.commit"]) == 40 and tags["git.dirty"] == "false" and read_diff(source) == ""
    assert tags["version.torch"] and " cores" in tags["hardware"]


def test_a_change_of_a_tracked_file_is_kept(source: Path) -> None:
    (source / "model.py").write_text("width = 128\n")
    assert provenance_tags(source)["git.dirty"] == "true"
    assert "-width = 64\n+width = 128\n" in read_diff(source)


def test_a_long_diff_is_cut_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF_BYTES", 1000)
    (source / "model.py").write_text("width = 1\n" * 1000)
    diff = read_diff(source)
    assert diff.endswith("(cut off at 1,000 bytes)\n") and len(diff) < 1100


def test_an_image_says_what_it_was_built_from(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / provenance.BUILT_FROM).write_text('{"commit": "abc123", "dirty": true}\n')
    tags = provenance_tags(tmp_path)
    assert (tags["git.commit"], tags["git.dirty"]) == ("abc123", "true") and read_diff(tmp_path) == ""


def test_outside_a_repository_there_is_neither(tmp_path: Path) -> None:
    assert "git.dirty" not in provenance_tags(tmp_path) and read_diff(tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ("+API_KEY = 'abc123'", "+API_KEY = ***"),
        ("+  db_password: hunter2 # mine", "+  db_password: ***"),
        ('+{"aws_secret_access_key": "x/y+z"}', '+{"aws_secret_access_key": ***'),
        ("+export HF_TOKEN=hf_x", "+export HF_TOKEN=***"),
        ("+url = 'postgresql://me:pw@db/runs'", "+url = 'postgresql://me:***@db/runs'"),
        ("+width = 128", "+width = 128"),
        ("+token_accuracy = correct / tokens", "+token_accuracy = correct / tokens"),
    ],
)
def test_assigned_secrets_are_blanked(text: str, blanked: str) -> None:
    assert blank_secrets(text) == blanked


def test_secrets_of_the_environment_are_blanked_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "planted-value")
    assert blank_secrets("+header = f'Bearer planted-value'") == "+header = f'Bearer ***'"

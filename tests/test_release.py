"""What keeps a release back, and that the workflows run only actions that were reviewed."""

from __future__ import annotations

import re

import yaml

from tests.release import ROOT, obstacles

WORKFLOWS = {path.stem: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def test_what_is_missing_keeps_a_release_back() -> None:
    changelog = "# Changes\n\n## 1.2.0 (2026-11-30)\n\n- The check is faster.\n"
    assert list(obstacles("v1.2.0", "1.2.0", "https://code.example/owner/repository", changelog)) == []
    found = list(obstacles("v1.1.0", "1.2.0", "", changelog.replace("2026-11-30", "not released")))
    assert [re.findall("source|tag|CHANGELOG", obstacle)[0] for obstacle in found] == ["source", "tag", "CHANGELOG"]


def test_every_action_is_pinned_by_its_commit() -> None:
    used = re.findall(r"uses:\s*(.*)", "".join(WORKFLOWS.values()))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_only_what_was_checked_is_published() -> None:
    build, publish = (yaml.safe_load(WORKFLOWS["release"])["jobs"][name] for name in ("build", "publish"))
    commands = [step["run"] for step in build["steps"] if "run" in step]
    assert (commands[0], commands[-1]) == ('make release-check TAG="$GITHUB_REF_NAME"', "make build")
    assert (publish["needs"], [step for step in publish["steps"] if "run" in step]) == ("build", [])

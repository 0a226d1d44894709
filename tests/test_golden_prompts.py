"""Every template of the packages shipped here, on every sample of its task, as it stood when last looked at.

A change of a template, or of how templates are rendered, shows as a change of these files. To accept it::

    pytest tests/test_golden_prompts.py --rewrite-golden
    git diff tests/golden
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import instructforge_nli
import instructforge_qa
from instructforge.errors import TemplateError
from instructforge.plugins import Forge
from instructforge.templates import TemplateRef

GOLDEN = Path(__file__).parent / "golden"
FORGE = Forge([instructforge_nli, instructforge_qa])
TASKS = ("nli", "qa", "qa-boolean", "qa-choice", "qa-faq", "qa-open")
REFS = [ref for task in TASKS for ref in FORGE.templates.refs(task=task)]


def rendered(ref: TemplateRef) -> dict[str, str]:
    """Return what the template makes of each sample in its language, by the name of its golden file."""
    task = FORGE.tasks.get(ref.task)
    template = FORGE.templates.load(ref.key, task)
    samples = [sample for sample in task.samples if sample.language == ref.language]
    shown = {}
    for number, sample in enumerate(samples, 1):
        try:
            instruction = template.render(sample.to_example(number), seed=number)
        except TemplateError as error:
            if error.rule != "not-applicable":
                raise
            text = "(not applicable)\n"
        else:
            text = "\n".join(f"--- {turn.role} ---\n{turn.content}\n" for turn in instruction.messages)
        shown[f"{ref.name}.{number}.txt"] = text
    return shown


@pytest.mark.parametrize("ref", REFS, ids=[ref.key for ref in REFS])
def test_prompts_are_as_they_were(ref: TemplateRef, request: pytest.FixtureRequest) -> None:
    folder = GOLDEN / ref.task / ref.language
    for name, text in rendered(ref).items():
        path = folder / name
        if request.config.getoption("--rewrite-golden"):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is not there yet: run with --rewrite-golden, then look at it"
        assert path.read_text(encoding="utf-8") == text


def test_no_golden_file_is_left_over() -> None:
    expected = {GOLDEN / ref.task / ref.language / name for ref in REFS for name in rendered(ref)}
    assert set(GOLDEN.rglob("*.txt")) == expected


@pytest.mark.parametrize("task", TASKS)
def test_there_are_six_templates_in_each_language_and_one_is_inverted(task: str) -> None:
    for language in ("en", "zh"):
        templates = [FORGE.templates.load(ref.key, FORGE.tasks.get(task)) for ref in REFS if ref.task == task]
        mine = [template for template in templates if template.language == language]
        assert sum(template.inverted is None for template in mine) >= 6
        assert sum(template.inverted is not None for template in mine) >= 1


@pytest.mark.parametrize("ref", REFS, ids=[ref.key for ref in REFS])
def test_text_is_clean(ref: TemplateRef) -> None:
    """No turn begins or ends in white space, none has gaps, and Chinese text has full-width punctuation."""
    template = FORGE.templates.load(ref.key, FORGE.tasks.get(ref.task))
    for name, text in rendered(ref).items():
        turns = [part.partition(" ---\n")[2] for part in text.split("--- ")[1:]]
        for turn in turns:
            content = turn.rstrip("\n")
            assert content == content.strip(), name
            assert "\n\n\n" not in content, name
            assert not any(line != line.rstrip() for line in content.splitlines()), name
    if ref.language == "zh":
        words = re.sub(r"{%.*?%}|{{.*?}}", "", template.source)
        assert not set(words) & set(",;:?!()\"'"), f"half-width punctuation in {ref.key}"

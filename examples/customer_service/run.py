"""Answer customers: what they want, which answer of the FAQ fits, the passage on it, and the prompt for the reply.

python examples/customer_service/run.py                            # the samples beside this file, English and Chinese
python examples/customer_service/run.py --language en --causal smollm2-135m   # and let a causal model write the reply
python examples/customer_service/run.py --data banking77           # intents of real data: train.csv and test.csv
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from instructforge import Forge, Instruction
from instructforge.engines import open_engine
from instructforge.files import write_atomically
from instructforge.models import resolve
from instructforge.pipeline import Run, read_predictions
from instructforge.recipe import load_recipe

HERE = Path(__file__).parent
MODELS = {"en": "minilm", "zh": "me5-small"}
SYSTEM = {
    "en": "You answer customers of Fernway Cycles: friendly, to the point, in two sentences at most.",
    "zh": "你是青禾商城的客服，态度亲切，回答不超过两句话。",
}

FAQ_SAYS = {"en": "The answer of the FAQ: ", "zh": "常见问题里的答复："}


@frozen
class Turn:
    """One thing that the user says, and what the assistant makes of it.

    Args:
        said: The user's words.
        intent: What the user wants, by the intent model, with its score.
        entry: The answer of the FAQ that was chosen, with its score; None where nothing was found.
        prompt: The chat prompt for the reply.
        reply: What the causal model writes, where there is one.
    """

    said: str
    intent: tuple[str, float]
    entry: tuple[str | None, float]
    prompt: Instruction
    reply: str | None = None


def main(arguments: Sequence[str] | None = None) -> dict[str, list[Turn]]:
    asked = _asked(arguments)
    forge = Forge.discover()
    if asked.data:
        _real_intents(forge, asked)
        return {}
    return {language: _conversation(forge, language, asked) for language in asked.languages}


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.csv and test.csv: only intents, on real data")
    parser.add_argument("--language", dest="languages", choices=["en", "zh"], action="append", help="only this one")
    parser.add_argument("--model", help="encoder: minilm, me5-small or a folder; fits the language where left out")
    parser.add_argument("--causal", metavar="NAME", help="let this causal model write the replies, untrained")
    parser.add_argument("--out", type=Path, default=Path("runs/customer-service"), help="folder of the runs")
    asked = parser.parse_args(arguments)
    asked.languages = asked.languages or ["en", "zh"]
    return asked


# --- Training ------------------------------------------------------------------------------------------


def _run(forge: Forge, stage: str, out: Path, changes: Mapping[str, Any]) -> Run:
    """Return the run of one of the recipes beside this file, with some of its keys changed."""
    recipe = load_recipe(HERE / f"{stage}.yaml", changes)
    return Run(folder=out / stage, recipe=recipe, forge=forge, base=HERE, say=lambda line: print(f"  {line}"))


def _trained(forge: Forge, stage: str, out: Path, changes: Mapping[str, Any]) -> Run:
    """Build, train and score one stage; say how well it does."""
    print(f"{stage}:")
    run = _run(forge, stage, out, changes)
    report = run.all()
    warnings = json.loads((run.folder / "ledger.json").read_text(encoding="utf-8"))["warnings"]
    for line in warnings:
        print(f"  {line}")
    accuracy = report.metrics["accuracy"]
    bounds = f"{accuracy['low']:.2f} to {accuracy['high']:.2f}"
    print(f"  accuracy {accuracy['value']:.2f} on {accuracy['n']} rows (95 %: {bounds})")
    return run


def _real_intents(forge: Forge, asked: argparse.Namespace) -> None:
    """Train and score intents on real data; show some answers."""
    files = {f"data.{split}": str((asked.data / f"{split}.csv").absolute()) for split in ("train", "test")}
    run = _trained(forge, "intent", asked.out / asked.data.name, files | {"model": asked.model or "minilm"})
    rows = run.instructions("test")
    for row, found in list(zip(rows, read_predictions(run.folder / "predictions.jsonl"), strict=True))[:5]:
        print(f"user:   {row.example.inputs['text']}\nintent: {found.answer} ({found.score:.2f})")


# --- A conversation ------------------------------------------------------------------------------------


def _conversation(forge: Forge, language: str, asked: argparse.Namespace) -> list[Turn]:
    out = asked.out / language
    data, model = HERE / "data" / language, asked.model or MODELS[language]
    print(f"\n=== {language}, {model}")
    files = {"data.train": f"data/{language}/intents-train.jsonl", "data.test": f"data/{language}/intents-test.jsonl"}
    intent = _trained(forge, "intent", out, files | {"model": model})
    files = {"data.train": f"data/{language}/asked-train.jsonl", "data.test": f"data/{language}/asked-test.jsonl"}
    corpus = {"data.retrieve.corpus": f"data/{language}/faq.jsonl"}
    faq = _trained(forge, "faq", out, files | corpus | {"model": model})
    script = data / "conversation.jsonl"
    said = [json.loads(line)["text"] for line in script.read_text(encoding="utf-8").splitlines()]
    intents = _answers(intent, script, out, said)
    entries = _answers(faq, script, out, said)
    prompts = _prompts(forge, language, out, said, [entry for entry, _ in entries])
    replies = _replies(forge, asked.causal, prompts)
    turns = [Turn(*parts) for parts in zip(said, intents, entries, prompts, replies, strict=True)]
    for turn in turns:
        _show(turn)
    _show_prompt(turns[-1].prompt)
    return turns


def _answers(run: Run, script: Path, out: Path, said: Sequence[str]) -> list[Any]:
    """Return answer and score of a trained stage for each turn; None for one that it cannot answer."""
    path = run.answer([str(script)], out / f"{run.folder.name}-answers.jsonl")
    found = {int(one.id.rpartition(":")[2]): (one.answer, one.score or 0.0) for one in read_predictions(path)}
    return [found.get(place, (None, 0.0)) for place in range(1, len(said) + 1)]


def _prompts(
    forge: Forge, language: str, out: Path, said: Sequence[str], entries: Sequence[str | None]
) -> list[Instruction]:
    """Build the chat prompts of the replies: before each turn stands what was said, answered with the FAQ's entries.

    The entry also stands as the reply to be written, so that a model's own reply can be compared with it.
    """
    history: list[dict[str, str]] = []
    rows = []
    for text, entry in zip(said, entries, strict=True):
        history.append({"role": "user", "content": text})
        told = f"{SYSTEM[language]}\n{FAQ_SAYS[language]}{entry}" if entry else SYSTEM[language]
        rows.append({"system": told, "history": list(history), "reply": entry or "…"})
        history.append({"role": "assistant", "content": entry or "…"})
    turns = out / "turns.jsonl"
    with write_atomically(turns) as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print("reply:")
    changes = {
        "data.train": f"data/{language}/dialogues.jsonl",
        "data.test": str(turns.absolute()),
        "data.retrieve.corpus": f"data/{language}/passages.jsonl",
    }
    run = _run(forge, "reply", out, changes)
    counts = run.build().counts
    print(f"  prompts: {counts['train']} of dialogues, {counts['test']} of this conversation")
    return list(run.instructions("test"))


def _replies(forge: Forge, causal: str | None, prompts: Sequence[Instruction]) -> list[str | None]:
    if causal is None:
        return [None] * len(prompts)
    task = forge.tasks.get("dialogue")
    engine = open_engine(resolve(causal, forge=forge), task=task)
    return [output.text for output in engine.outputs(prompts, forge.decoders.get(task.decoder_name).needs)]


# --- On the screen -------------------------------------------------------------------------------------


def _show(turn: Turn) -> None:
    passage = (turn.prompt.example.inputs.get("knowledge") or ["(none)"])[0]
    print(f"\nuser:    {turn.said}\nintent:  {turn.intent[0]} ({turn.intent[1]:.2f})")
    print(f"FAQ:     {turn.entry[0] or '(nothing found)'} ({turn.entry[1]:.2f})\npassage: {passage}")
    if turn.reply is not None:
        print(f"reply:   {turn.reply.strip()}")


def _show_prompt(prompt: Instruction) -> None:
    print("\nthe last chat prompt, as a causal model gets it:")
    for message in prompt.messages[:-1]:  # the last one is the reply
        print(f"  [{message.role}] {message.content}")


if __name__ == "__main__":
    main()

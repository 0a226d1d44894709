"""Watch what is written about money: sentiment of a stream of posts, the rolling share of negative ones, and alerts.

python examples/finance/run.py                                  # the posts beside this file, English and Chinese
python examples/finance/run.py --data posts.csv --date created  # your own: any format that `sentiment` reads
python examples/finance/run.py --data dev.tsv --train train.tsv # with labelled rows of your own to train on
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen
from monitor import Alert, Point, Post, Rolling, watch
from page import write_page

from instructforge import Forge, Task
from instructforge.building import InstructionSet, Source, build, used_templates
from instructforge.data import Instruction, Row
from instructforge.engines import open_engine
from instructforge.models import resolve
from instructforge.readers import choose_reader
from instructforge.training.job import TrainingJob

SAMPLE = Path(__file__).parent / "data"
MODELS = {"en": "minilm", "zh": "me5-small"}


@frozen
class Watched:
    """A stream, watched to its end: the state after each post, the alerts, and how many labelled posts were right."""

    points: list[Point]
    alerts: list[Alert]
    right: int
    labelled: int


def main(arguments: Sequence[str] | None = None) -> dict[str, Watched]:
    asked = _asked(arguments)
    forge = Forge.discover()
    found = {}
    for name, train, stream in _streams(asked):
        language = asked.language or ("zh" if name.endswith("zh") else "en")
        print(f"\n{name}: {stream}")
        found[name] = _watched(forge, name, language, train, stream, asked)
        page = asked.out / f"{name}.html"
        write_page(page, name, language, found[name].points, found[name].alerts, asked.threshold, asked.window)
        print(f"page: {page}")
    return found


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a stream of posts; the samples where left out")
    parser.add_argument("--train", type=Path, help="labelled rows to train on; the sample's where left out")
    parser.add_argument("--text", help="column of the text, where its name is unusual")
    parser.add_argument(
        "--date", default="date", help="column of the date (date); posts are counted where there is none"
    )
    parser.add_argument("--language", choices=["en", "zh"], help="of --data (en); or the only sample to run")
    parser.add_argument("--model", help="minilm, me5-small or a folder; fits the language where left out")
    parser.add_argument("--window", type=int, default=9, help="posts that the share is taken over (9)")
    parser.add_argument("--threshold", type=float, default=0.5, help="share that raises an alert (0.5)")
    parser.add_argument("--limit", type=int, help="posts to watch at most")
    parser.add_argument("--out", type=Path, default=Path("runs/finance"), help="folder of the run")
    return parser.parse_args(arguments)


def _streams(asked: argparse.Namespace) -> Iterator[tuple[str, Path, Path]]:
    """Yield a name, rows to train on and the stream, for each stream to watch."""
    if asked.data:
        yield asked.data.stem, asked.train or SAMPLE / f"labelled-{asked.language or 'en'}.jsonl", asked.data
        return
    for language in [asked.language] if asked.language else ["en", "zh"]:
        yield f"sample-{language}", SAMPLE / f"labelled-{language}.jsonl", SAMPLE / f"stream-{language}.jsonl"


# --- One stream ----------------------------------------------------------------------------------------


def _watched(forge: Forge, name: str, language: str, train: Path, stream: Path, asked: argparse.Namespace) -> Watched:
    task = forge.tasks.get("sentiment")
    out = asked.out / name
    columns = {"text": asked.text} if asked.text else {}
    sources = [Source(train, split="train"), Source(stream, split="test", columns=columns)]
    ledger = build(forge, task, sources, out).ledger
    totals = ledger["totals"]
    print(
        f"read {totals['read']}, built {totals['built']}, quarantined {totals['quarantined']} ({out / 'ledger.json'})"
    )
    _train(forge, task, out, asked.model or MODELS[language])
    rows = InstructionSet(out, "test")[: asked.limit]
    order, dates = _in_time(rows, _dates(forge, stream, asked.date))
    said: list[Post] = []
    points, alerts = [], []
    for point in watch(_posts(forge, task, out, order, dates, said), Rolling(asked.window, asked.threshold)):
        points.append(point)
        _tell(point)
        alerts += [point.ended] if point.ended else []
    alerts += _unended(points)
    labelled = [(row.example.answers[0], post) for row, post in zip(order, said, strict=True) if row.example.answers]
    right = sum(gold == post.sentiment for gold, post in labelled)
    print(f"posts: {len(points)}; alerts: {len(alerts)}")
    if labelled:
        print(f"of {len(labelled)} posts whose sentiment is known, {right} were read right")
    return Watched(points, alerts, right, len(labelled))


def _unended(points: Sequence[Point]) -> list[Alert]:
    """Return the alert that is still on at the end."""
    if not points or not points[-1].on:
        return []
    return [next(point.begun for point in reversed(points) if point.begun)]


def _train(forge: Forge, task: Task, out: Path, model: str) -> None:
    train = InstructionSet(out, "train")
    job = TrainingJob(
        task=task,
        train=train,
        model=resolve(model, forge=forge),
        out=out / "model",
        work=out / "work",
        templates=used_templates(out),
        decoder="choice-scores",
    )
    result = forge.trainers.get("encoder").train(job)
    print(f"trained on {len(train)} posts in {result.seconds:.0f} s, from {model}")


def _posts(
    forge: Forge,
    task: Task,
    out: Path,
    rows: Sequence[Instruction],
    dates: Mapping[str, datetime],
    said: list[Post],
) -> Iterator[Post]:
    """Yield the posts as the model reads them, in their order; ``said`` takes them too."""
    decoder, engine = forge.decoders.get("choice-scores"), open_engine(out / "model")
    for place, (row, output) in enumerate(zip(rows, engine.outputs(rows, decoder.needs), strict=True), start=1):
        (found,) = decoder.decode([output], [row], task)
        text = str(row.example.inputs["text"])
        post = Post(place, dates.get(row.id), text, str(found.answer or "undecided"), found.score or 0.0)
        said.append(post)
        yield post


def _tell(point: Point) -> None:
    if point.begun:
        print(f"{point.post.when}  ALERT: {point.share:.0%} of the last posts are negative")
        for post in point.begun.reasons:
            print(f"    {post.when}  {post.text[:100]} ({post.score:.2f})")
    if point.ended:
        print(f"{point.post.when}  alert over: {point.share:.0%}")


# --- Time ----------------------------------------------------------------------------------------------


def _dates(forge: Forge, stream: Path, column: str) -> dict[str, datetime]:
    """Return the date of each record that has one, by its place in the file."""
    dates = {}
    for row in choose_reader(stream, forge.readers).read(stream, {}):
        when = _date(row.values.get(column)) if isinstance(row, Row) else None
        if when is not None:
            dates[f"{row.origin.record}{row.origin.path}"] = when
    return dates


def _date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    try:
        return datetime.fromisoformat(str(value).strip().replace("/", "-")).replace(tzinfo=None)
    except ValueError:
        return None


def _in_time(
    rows: Sequence[Instruction], by_place: Mapping[str, datetime]
) -> tuple[Sequence[Instruction], dict[str, datetime]]:
    """Return the rows in the order of their dates, where all have one, else as they come; and the dates by id."""
    places = {row.id: f"{row.example.origin.record}{row.example.origin.path}" for row in rows}
    dates = {id: by_place[place] for id, place in places.items() if place in by_place}
    if len(dates) < len(rows):
        missing = len(rows) - len(dates)
        print(f"{missing} of {len(rows)} posts have no readable date: they are taken as they come, and counted")
        return rows, {}
    ordered = sorted(rows, key=lambda row: dates[row.id])
    if [row.id for row in ordered] != [row.id for row in rows]:
        print("the posts were not in the order of their dates; they are now")
    return ordered, dates


if __name__ == "__main__":
    main()

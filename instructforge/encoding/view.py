"""The mask of an instruction, to be looked at: which tokens are trained, in a terminal, a page or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import frozen

from instructforge.data import Features, Instruction
from instructforge.encoding.chat import IGNORED, ChatEncoder
from instructforge.errors import InstructForgeError

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["MaskView", "Piece", "html_page", "mask_view"]

_STYLE: Final = {"trained": "bold black on green", "trained control": "bold black on yellow", "control": "dim"}
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@frozen
class Piece:
    """A token, or the few tokens that make up one character: its text and ids."""

    text: str
    ids: tuple[int, ...]
    trained: bool
    control: bool

    @property
    def kind(self) -> str:
        return " ".join(name for name, on in (("trained", self.trained), ("control", self.control)) if on)


@frozen(kw_only=True)
class MaskView:
    """An encoded instruction, token by token; or why it cannot be encoded (then without pieces)."""

    id: str
    name: str
    pieces: tuple[Piece, ...] = ()
    problem: str = ""

    @property
    def tokens(self) -> int:
        return sum(len(piece.ids) for piece in self.pieces)

    @property
    def trained_tokens(self) -> int:
        return sum(len(piece.ids) for piece in self.pieces if piece.trained)

    @property
    def summary(self) -> str:
        """One line: name, id and counts."""
        counts = self.problem or f"{self.trained_tokens} of {self.tokens} tokens are trained"
        return f"{self.name} × {self.id}: {counts}"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "problem": self.problem or None,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "pieces": [
                {"text": one.text, "ids": list(one.ids), "trained": one.trained, "control": one.control}
                for one in self.pieces
            ],
        }

    def to_plain(self) -> str:
        """Return the text with each trained stretch between ``⟦`` and ``⟧``."""
        parts = []
        trained = False
        for piece in self.pieces:
            if piece.trained != trained:
                parts.append("⟦" if piece.trained else "⟧")
                trained = piece.trained
            parts.append(_visible(piece.text))
        return "".join(parts) + ("⟧" if trained else "")

    def to_rich(self) -> Text:
        """Return the text coloured for a terminal."""
        from rich.text import Text  # slow to import, and a pipe has no need of it

        text = Text()
        for piece in self.pieces:
            shown = _visible(piece.text)
            if piece.trained and not shown.strip(" "):
                shown = shown.replace("\n", "⏎\n")
            text.append(shown, style=_STYLE.get(piece.kind, ""))
        return text

    def to_html(self) -> str:
        """Return the text as one ``<figure>``."""
        spans = "".join(
            f'<span class="{piece.kind}" title="{" ".join(map(str, piece.ids))}">{escape(_visible(piece.text))}</span>'
            for piece in self.pieces
        )
        return f"<figure><figcaption>{escape(_visible(self.summary))}</figcaption><pre>{spans}</pre></figure>"


def mask_view(
    encoder: ChatEncoder, instructions: Iterable[Instruction], *, train: Literal["last", "all"] = "last"
) -> Iterator[MaskView]:
    """Yield the view of each instruction, encoded as in training."""
    for row in instructions:
        name = f"{row.task}/{row.language}/{row.template}"
        (found,) = encoder.encode([row], train=train)
        if isinstance(found, InstructForgeError):
            yield MaskView(id=row.id, name=name, problem=str(found))
        else:
            yield MaskView(id=row.id, name=name, pieces=tuple(_pieces(encoder.tokenizer, found)))


def _pieces(tokenizer: Any, features: Features) -> Iterator[Piece]:
    """Yield the pieces of a row; tokens that share a character (bytes of it) come together."""
    control = {index for index, token in tokenizer.added_tokens_decoder.items() if str(token).strip()}
    before: list[int] = []
    waiting: list[int] = []
    marks = [label != IGNORED for label in features.labels]
    for place, index in enumerate(features.input_ids):
        waiting.append(index)
        text = _text_of(tokenizer, before, waiting)
        last = place + 1 == len(marks) or marks[place + 1] != marks[place]
        if text.endswith("\ufffd") and not last and len(waiting) < 8:
            continue
        yield Piece(text, tuple(waiting), marks[place], index in control)
        before, waiting = waiting, []


def _text_of(tokenizer: Any, before: Sequence[int], ids: Sequence[int]) -> str:
    """Return the text that ``ids`` add behind ``before``: decoders of many tokenizers look at a text's start."""
    head = tokenizer.decode(list(before), clean_up_tokenization_spaces=False) if before else ""
    both = tokenizer.decode([*before, *ids], clean_up_tokenization_spaces=False)
    if both.startswith(head):
        return str(both[len(head) :])
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def html_page(views: Iterable[MaskView], *, title: str) -> str:
    """Return one self-contained page with the views, with nothing to load from elsewhere."""
    figures = "\n".join(view.to_html() for view in views)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(_visible(title))}</title>
<style>
body {{ font: 15px/1.6 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2430; background: #fff }}
figure {{ margin: 0 0 2rem }}
figcaption {{ font-weight: 600; margin-bottom: .4rem }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f6f8; padding: .8rem 1rem; border-radius: 6px;
  font: 13px/1.7 ui-monospace, "Noto Sans Mono CJK SC", monospace; margin: 0 }}
.trained {{ background: #bfe8c8; color: #0d3b1c; border-radius: 2px }}
.control {{ color: #737c8a }}
.trained.control {{ background: #f3d98b; color: #4c3900 }}
</style></head><body>
<h1>{escape(_visible(title))}</h1>
<p><span class="trained">Green</span> is trained, <span class="trained control">yellow</span> is the stop token,
the rest is read only. Hold the pointer over a token for its id.</p>
{figures}
</body></html>
"""


def _visible(text: str) -> str:
    """Escape what could drive a terminal or turn a line around; newlines and tabs stay."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)

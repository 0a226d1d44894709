"""The view of a mask, and the command that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from chat_kit import CHATML, PAIRS, chat, encoder_of, tokenizer_named
from click.testing import CliRunner
from safetensors.torch import save_file

from instructforge.cli import main
from instructforge.encoding import ChatEncoder
from instructforge.encoding.view import html_page, mask_view

ROW = chat(("user", "法国 <b>首都</b>？"), ("assistant", "巴黎 👩‍👩‍👧 yes\n"))


@pytest.mark.parametrize(("tokenizer", "template"), PAIRS)
def test_pieces_are_all_tokens_once(tokenizer: str, template: str) -> None:
    encoder = encoder_of(tokenizer, template)
    (view,) = mask_view(encoder, [ROW])
    (features,) = encoder.encode([ROW])
    assert [index for piece in view.pieces for index in piece.ids] == list(features.input_ids)  # type: ignore[union-attr]
    assert view.trained_tokens == sum(label != -100 for label in features.labels)  # type: ignore[union-attr]
    assert view.pieces[[piece.trained for piece in view.pieces].index(True)].control is False
    if tokenizer == "byte-level":
        assert "".join(piece.text for piece in view.pieces) == encoder.tokenizer.decode(features.input_ids)  # type: ignore[union-attr]


def test_a_pipe_shows_brackets_and_a_page_shows_colours() -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=CHATML)
    (view,) = mask_view(encoder, [ROW])
    assert view.to_plain().endswith("assistant\n⟦巴黎 👩‍👩‍👧 yes\n<|im_end|>⟧\n")
    assert view.to_rich().plain.replace("⏎", "").endswith("yes\n<|im_end|>\n")
    page = html_page([view], title="<script>alert(1)</script>")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "http" not in page
    assert 'class="trained control"' in page
    assert json.loads(json.dumps(view.to_json()))["trained_tokens"] == view.trained_tokens


def test_a_row_that_cannot_be_encoded_says_why() -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=CHATML)
    (view,) = mask_view(encoder, [chat(("user", "a"), ("assistant", ""))])
    assert "nothing to train" in view.summary
    assert view.to_json()["pieces"] == []


def test_control_characters_do_not_reach_the_terminal() -> None:
    encoder = ChatEncoder(tokenizer_named("byte-level"), chat_template=CHATML)
    (view,) = mask_view(encoder, [chat(("user", "\x1b[31m"), ("assistant", "\x1b]0;x\x07"))])
    for shown in (view.to_plain(), view.to_html(), view.to_rich().plain):
        assert "\x1b" not in shown


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    tokenizer = tokenizer_named("byte-level")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    tokenizer.chat_template = None
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")  # a folder without weights is no model
    return folder


def test_the_command_shows_samples(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "mask.html"
    result = CliRunner().invoke(main, ["mask", "qa", "--model", str(model), "--n", "1", "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert "tokens are trained" in result.stdout
    assert "<|im_end|>⟧" in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_speaks_json_in_chinese_too(model: Path) -> None:
    arguments = ["mask", "qa", "--language", "zh", "--model", str(model), "--n", "2", "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["schema"] == "instructforge.mask/1"
    assert found["stop_texts"][0] == "<|im_end|>"
    for row in found["rows"]:
        written = [piece["text"] for piece in row["pieces"] if piece["trained"]]
        assert written[-1] == "<|im_end|>"
        assert any("\u4e00" <= char <= "\u9fff" for char in "".join(written))


def test_the_command_wants_a_causal_model(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}', encoding="utf-8")
    for arguments in (["mask", "qa"], ["mask", "qa", "--model", str(model)]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert "smollm2-135m" in result.output

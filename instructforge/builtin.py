"""What InstructForge brings along, provided through the same hooks that a stranger's plugin uses.

Everything here is a name and a place: nothing is imported before it is fetched, so that listing stays instant.
"""

from __future__ import annotations

from collections.abc import Iterator

from instructforge.components import Lazy, ModelSource
from instructforge.hookspecs import hookimpl

__all__: list[str] = []


@hookimpl
def instructforge_models() -> Iterator[ModelSource]:
    """Provide the starter models."""
    from instructforge.models.starters import STARTERS

    yield from STARTERS


@hookimpl
def instructforge_trainers() -> Iterator[Lazy]:
    """Provide the trainers: of causal models, and of encoder models with a head."""
    yield Lazy(
        "causal",
        "instructforge.training.causal:CausalTrainer",
        summary="fine-tunes a causal language model on the answers alone, whole or by LoRA",
        extra="train",
    )
    yield Lazy(
        "encoder",
        "instructforge.training.heads.trainer:EncoderTrainer",
        summary="fits a head on an encoder model: choices or spans, features first",
        extra="train",
    )


@hookimpl
def instructforge_decoders() -> Iterator[Lazy]:
    """Provide the decoders: from generated text, from likelihoods, and from a head's scores."""
    home = "instructforge.decoders"
    yield Lazy("text", f"{home}.text:TextDecoder", summary="the generated text is the answer")
    yield Lazy("choice", f"{home}.choice:ChoiceDecoder", summary="reads a choice, or its letter, out of generated text")
    yield Lazy(
        "choice-likelihood",
        f"{home}.choice:ChoiceLikelihoodDecoder",
        summary="the choice that the model finds likeliest, token for token",
    )
    yield Lazy(
        "choice-likelihood-characters",
        f"{home}.choice:CHARACTER_LIKELIHOOD",
        summary="the same, character for character",
    )
    yield Lazy(
        "choice-likelihood-none", f"{home}.choice:WHOLE_LIKELIHOOD", summary="the same, as a whole, whatever its length"
    )
    yield Lazy(
        "choice-scores", f"{home}.choice:ChoiceScoresDecoder", summary="the label that a model's head scores highest"
    )
    yield Lazy("span-text", f"{home}.span:SpanTextDecoder", summary="finds the generated text in the passage")
    yield Lazy("span", f"{home}.span:SpanDecoder", summary="the best span of a model's head, or no answer")
    yield Lazy(
        "ranking-text", f"{home}.ranking:RankingTextDecoder", summary="reads an order of items out of generated text"
    )
    yield Lazy(
        "ranking-likelihood",
        f"{home}.ranking:RankingLikelihoodDecoder",
        summary="items by how likely the model finds each as the whole answer",
    )
    yield Lazy("ranking", f"{home}.ranking:RankingDecoder", summary="items by the scores of a model's head")
    yield Lazy("tags-text", f"{home}.tags:TagsTextDecoder", summary="finds the entities that a text names")
    yield Lazy("tags", f"{home}.tags:TagsDecoder", summary="the likeliest valid tags of a model's head")


@hookimpl
def instructforge_metrics() -> Iterator[Lazy]:
    """Provide the metrics of texts, choices and spans."""
    home = "instructforge.metrics"
    yield Lazy("accuracy", f"{home}.labels:Accuracy", summary="share of answers that are right")
    yield Lazy("micro-f1", f"{home}.labels:MicroF1", summary="F1 over all labels together, where answers have several")
    yield Lazy("macro-f1", f"{home}.labels:MacroF1", summary="F1 of each label, averaged over the labels")
    yield Lazy(
        "exact-match", f"{home}.text:ExactMatch", summary="share of texts equal to an answer but for case and spaces"
    )
    yield Lazy("token-f1", f"{home}.text:TokenF1", summary="overlap with the answer in words, or Chinese characters")
    yield Lazy(
        "squad-em", f"{home}.span:SquadExactMatch", summary="exact match as SQuAD (CMRC 2018 in Chinese) counts it"
    )
    yield Lazy("squad-f1", f"{home}.span:SquadF1", summary="F1 as SQuAD (CMRC 2018 in Chinese) counts it")
    yield Lazy("entity-f1", f"{home}.tags:EntityF1", summary="F1 over entities, right in type and both ends")
    yield Lazy("ndcg", f"{home}.ranking:Ndcg", summary="gain of a ranking, discounted by rank, over the best possible")
    yield Lazy("ndcg-at-5", f"{home}.ranking:NDCG_AT_5", summary="the same over the first 5 items")
    yield Lazy("ndcg-at-10", f"{home}.ranking:NDCG_AT_10", summary="the same over the first 10 items")
    yield Lazy("mrr", f"{home}.ranking:MeanReciprocalRank", summary="one over the rank of the item to be found")
    yield Lazy("hit-at-1", f"{home}.ranking:HIT_AT_1", summary="share of rows whose item to be found is ranked first")
    yield Lazy("hit-at-5", f"{home}.ranking:HIT_AT_5", summary="share of rows with it among the first 5")
    yield Lazy("hit-at-10", f"{home}.ranking:HIT_AT_10", summary="share of rows with it among the first 10")
    written = f"{home}.generation"
    yield Lazy("bleu", f"{written}:Bleu", summary="BLEU of the corpus by sacrebleu, from 0 to 1", extra="metrics")
    yield Lazy("chrf", f"{written}:ChrF", summary="chrF2 of the corpus by sacrebleu, from 0 to 1", extra="metrics")
    yield Lazy("rouge-1", f"{written}:Rouge1", summary="F1 over words, or Chinese characters", extra="metrics")
    yield Lazy("rouge-2", f"{written}:Rouge2", summary="F1 over pairs of words, or of characters", extra="metrics")
    yield Lazy("rouge-l", f"{written}:RougeL", summary="F1 of the longest common subsequence", extra="metrics")


@hookimpl
def instructforge_readers() -> Iterator[Lazy]:
    """Provide the readers of common file formats."""
    home = "instructforge.readers"
    yield Lazy("jsonl", f"{home}.jsonl:JsonlReader", summary="one JSON object a line")
    yield Lazy(
        "json", f"{home}.document:JsonReader", summary="one JSON document: a list of objects, or one with a list"
    )
    yield Lazy("csv", f"{home}.delimited:CsvReader", summary="comma-separated values with a header line")
    yield Lazy("tsv", f"{home}.delimited:TsvReader", summary="tab-separated values with a header line")
    yield Lazy("tmx", f"{home}.tmx:TmxReader", summary="a translation memory (TMX), one row for each unit")
    yield Lazy("parallel", f"{home}.parallel:ParallelReader", summary="text files that belong together line by line")
    yield Lazy("conll", f"{home}.conll:ConllReader", summary="a token a line with its tag, a sentence a block")
    yield Lazy("parquet", f"{home}.columnar:ParquetReader", summary="Apache Parquet, a batch of rows at a time")
    yield Lazy("datasets", f"{home}.columnar:DatasetsReader", summary="a folder of save_to_disk, or hub:NAME")
    yield Lazy("quarantine", f"{home}.jsonl:QuarantineReader", summary="a mended quarantine.jsonl, fed back")


@hookimpl
def instructforge_exporters() -> Iterator[Lazy]:
    """Provide the writers of other projects' formats."""
    home = "instructforge.exporting"
    yield Lazy("trl", f"{home}.conversations:TrlExporter", summary="TRL: prompt and completion as messages")
    yield Lazy("trl-tokens", f"{home}.tokens:TrlTokensExporter", summary="TRL: ids and labels for one model")
    yield Lazy("alpaca", f"{home}.pairs:AlpacaExporter", summary="Alpaca: instruction, input, output")
    yield Lazy("sharegpt", f"{home}.conversations:ShareGptExporter", summary="ShareGPT: conversations")
    yield Lazy("openai", f"{home}.conversations:OpenAIExporter", summary="OpenAI fine-tuning: messages with weights")
    yield Lazy("axolotl", f"{home}.conversations:AxolotlExporter", summary="axolotl: messages, train for each turn")
    yield Lazy(
        "axolotl-segments",
        f"{home}.tokens:AxolotlSegmentsExporter",
        summary="axolotl input_output: segments with their mask, for one model",
    )
    yield Lazy("ms-swift", f"{home}.conversations:SwiftExporter", summary="ms-swift: messages with loss, channel")
    yield Lazy("llamafactory", f"{home}.conversations:LlamaFactoryExporter", summary="LLaMA-Factory: ShareGPT")
    yield Lazy("lm-eval", f"{home}.benchmarks:LmEvalExporter", summary="lm-evaluation-harness: a task, its prompts")
    yield Lazy(
        "natural-instructions",
        f"{home}.benchmarks:NaturalInstructionsExporter",
        summary="Natural Instructions: definition and instances",
    )


@hookimpl
def instructforge_retrievers() -> Iterator[Lazy]:
    """Provide the retriever of passages by their words."""
    yield Lazy(
        "bm25",
        "instructforge.retrieval.bm25:Bm25Retriever",
        summary="by words, and by characters where a script has no spaces",
        extra="retrieval",
    )

"""A task for InstructForge, by a third party: is this news good or bad for the company it is about?"""

from instructforge import Choice, Sample, Task, TemplateFolder, columns, hookimpl

NAME, SUMMARY = "financial-sentiment", "tell whether news is good or bad for a company"
LABELS = Choice({"positive": {"zh": "利好"}, "negative": {"zh": "利空"}, "neutral": {"zh": "中性"}})
EN = {"positive": "Profit rose by 40 percent.", "negative": "It cut its dividend.", "neutral": "It has 90 branches."}
ZH = {"positive": "公司净利润同比增长四成。", "negative": "公司因违规被罚款。", "neutral": "公司将于周五召开股东大会。"}
SAMPLES = [Sample(code, {"text": text}, lab) for code, news in (("en", EN), ("zh", ZH)) for lab, text in news.items()]


@hookimpl
def instructforge_tasks():
    yield Task(NAME, summary=SUMMARY, fields={"text": "a sentence of news"}, target=LABELS, samples=SAMPLES)


@hookimpl
def instructforge_normalizers():
    yield columns(NAME, task=NAME, fields={"text": ("sentence", "Sentence")}, answer=("sentiment", "Sentiment"))


@hookimpl
def instructforge_templates():
    yield TemplateFolder.beside(__file__)

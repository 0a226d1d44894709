"""Types of names that many data sets have, in words. A type that is not here is its own word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["WORDS"]

_KNOWN = (
    ("person", "人名", "PER PERSON person per"),
    ("location", "地名", "LOC LOCATION location loc"),
    ("organization", "组织机构", "ORG ORGANIZATION ORGANISATION organization organisation org"),
    ("country, state or city", "国家或城市", "GPE gpe"),
    ("miscellaneous name", "其他专名", "MISC misc"),
    ("corporation", "公司", "corporation company"),
    ("product", "产品", "product PRODUCT PROD"),
    ("creative work", "作品", "creative-work WORK_OF_ART"),
    ("group", "团体", "group GROUP"),
    ("nationality, religion or party", "民族、宗教或党派", "NORP"),
    ("facility", "设施", "FAC facility building"),
    ("event", "事件", "EVENT event"),
    ("law", "法律", "LAW law"),
    ("language", "语言", "LANGUAGE language"),
    ("date", "日期", "DATE date"),
    ("time", "时间", "TIME time"),
    ("amount of money", "金额", "MONEY money"),
    ("percentage", "百分比", "PERCENT percent"),
    ("quantity", "数量", "QUANTITY quantity"),
    ("ordinal number", "序数", "ORDINAL ordinal"),
    ("number", "数字", "CARDINAL cardinal"),
    ("address", "地址", "address"),
    ("book", "书名", "book"),
    ("movie", "电影", "movie"),
    ("game", "游戏", "game"),
    ("government", "政府机构", "government"),
    ("name", "姓名", "name NAME"),
    ("position", "职位", "position"),
    ("sight", "景点", "scene"),
    ("title", "职称", "TITLE title"),
    ("nationality", "国籍", "CONT"),
    ("education", "学历", "EDU"),
    ("field of study", "专业", "PRO"),
    ("ethnic group", "民族", "RACE"),
)


def _entries() -> Iterator[tuple[str, Mapping[str, str]]]:
    for english, chinese, spellings in _KNOWN:
        yield from ((spelling, {"en": english, "zh": chinese}) for spelling in spellings.split())


WORDS: Mapping[str, Mapping[str, str]] = dict(_entries())
"""Each spelling of a type → its words in each language."""

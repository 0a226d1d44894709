"""Renders each hostile template that it is given on standard input, in a process with little memory.

One JSON line in (``{"source": …, "chat": false, "time_s": 0.3}``), one JSON line out. A process that dies, or
answers with anything but a text or a ``TemplateError``, has been broken into.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import suppress
from typing import Any

from instructforge.data import Example
from instructforge.errors import TemplateError
from instructforge.tasks import Field, Task, Text
from instructforge.templates import Limits, compile_chat_template, compile_template

MEMORY_BYTES = 1 << 30
FIELDS: dict[str, Any] = {"text": "a text", "items": Field("some texts", kind="list", optional=True)}
TASK = Task("hostile", summary="", fields=FIELDS, target=Text())
ROW = {"text": "hello <b>", "items": ["a", "b"]}
FRAME = "{%% block prompt %%}%s{%% endblock %%}{%% block completion %%}{{ answer }}{%% endblock %%}"


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Compile and render one template; return what came of it."""
    limits = Limits(time_s=request.get("time_s", 2.0))
    start = time.perf_counter()
    try:
        if request.get("chat"):
            template = compile_chat_template(request["source"], limits=limits)
            text = template.render([{"role": "user", "content": "hello"}], text="hello <b>", items=["a", "b"])
        else:
            whole = FRAME.replace("%%", "%").replace("%s", request["source"])
            made = compile_template(whole, task=TASK, language="en", name="attack", limits=limits)
            example = Example(inputs=ROW, answers=("x",), id="1")
            text = made.render(example, seed=1).messages[0].content
        outcome: dict[str, Any] = {"text": text[:2000]}
    except TemplateError as error:
        outcome = {"rule": error.rule, "message": str(error)}
    assert ROW == {"text": "hello <b>", "items": ["a", "b"]}, "the row was changed"
    return outcome | {"seconds": time.perf_counter() - start}


def main() -> None:
    """Answer each line."""
    with suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

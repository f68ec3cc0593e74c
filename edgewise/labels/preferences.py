"""Corrections as preference data: a question, the answer that people gave in the end, and the one that they corrected.

As a language model is asked and as it would answer (`prompts`), so that it can be trained on them; in messages with
roles, as TRL and others read them. Knows nothing of who suggested what, or of files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgewise.labels.answers import Demonstration, show
from edgewise.labels.prompts import Prompt, Questions
from edgewise.labels.quotes import Window, windows
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span

Answers = Mapping[str, Sequence[Span]]  # by from_name


def preferences(questions: Questions, text: str, right: Answers, wrong: Answers) -> Iterator[dict[str, Any]]:
    """prompt, chosen, rejected for each window of the text (as in a run) on which the two answers differ.

    Only of heads that both speak of. A single choice that one of them leaves empty is not asked about, as the question
    does not offer that; neither is a choice about the whole text where a window shows only a part of it.
    """
    every = windows(text)
    heads = [head for head in questions.heads if _is_comparable(head, right, wrong)]
    for window in every:
        asked = tuple(head for head in heads if len(every) == 1 or head.kind == "spans")
        if asked:
            prompt = replace(questions, heads=asked).about(text[window.start : window.end])
            chosen, rejected = (_answer(prompt, window, asked, answers) for answers in (right, wrong))
            if chosen != rejected:
                yield {
                    "prompt": [_message("system", prompt.system), _message("user", prompt.user)],
                    "chosen": [_message("assistant", chosen)],
                    "rejected": [_message("assistant", rejected)],
                }


def _is_comparable(head: Head, right: Answers, wrong: Answers) -> bool:
    both = right.get(head.from_name), wrong.get(head.from_name)
    return None not in both and (head.kind != "choice" or all(both))


def _answer(prompt: Prompt, window: Window, asked: Sequence[Head], answers: Answers) -> str:
    """How a model that was asked about the window would say this; of a span that the window cuts it knows nothing."""
    inside = {
        head.from_name: tuple(
            Span(span.start - window.start, span.end - window.start, span.label)
            for span in answers[head.from_name]
            if window.start <= span.start and span.end <= window.end
        )
        for head in asked
    }
    return show(prompt.codec.write(Demonstration(prompt.text, inside)))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}

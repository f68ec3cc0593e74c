"""Ask a language model for labels: prompt, windows, confidence, and a run over many documents.

Knows prompts and labels. Knows no vendor, project, store or server: texts, a `Head` and a `Chat` in, spans out. A text
is data: it stands in the user's role between marks that it cannot contain, and whatever it orders, what comes back is
spans of that very text under labels of that head, or nothing. An answer is paid for once: it is read again from the
cache, under the whole question as its key.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from decimal import Decimal

from edgewise.labels.answers import Asked, Demonstration, Reading, Unreadable
from edgewise.labels.prompts import CodecName, Prompt, Questions
from edgewise.labels.quotes import Window, place, windows
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, longest_first
from edgewise.labels.votes import Answers, Choice, Vote, chosen_spans, elected, trusted
from edgewise.services.llm import (
    Budget,
    BudgetSpent,
    Cache,
    Chat,
    ChatAnswer,
    ChatRequest,
    ModelRefused,
    ModelUnavailable,
    RequestRefused,
    Spend,
    option_probabilities,
)

CUT_SHORT_FACTOR = 4
UNANSWERED_IN_A_ROW = 5  # then the endpoint is away, and it is not the texts


@dataclass(frozen=True, slots=True)
class Prelabel:
    """What a language model says about one text.

    spans: of each head, by from_name; a choice is a span of the whole text. A span's score, in [0, 1], is how sure it
    is of the label; None if nothing tells. confidence: of what it is least sure of, in any head; by agreement, also of
    spans that only a minority saw. unplaced: quotes that are not in the text. invalid: parts of answers that are not of
    the form asked for. cost_usd: of what was asked now; None if unknown. cached: nothing was asked. error: why there is
    no answer; then there are no spans, which does not say that nothing is there.
    """

    spans: Answers
    unplaced: int = 0
    invalid: int = 0
    confidence: float | None = None
    cost_usd: Decimal | None = None
    cached: bool = False
    error: str | None = None
    answers: tuple[ChatAnswer, ...] = field(default=(), repr=False)


def prelabel(
    texts: Sequence[str],
    heads: Sequence[Head],
    chat: Chat,
    cache: Cache,
    *,
    budget: Budget,
    instructions: str = "",
    demonstrations: Callable[[int], Sequence[Demonstration]] = lambda _: (),
    codec: CodecName = "json",
    variants: int = 1,
    workers: int = 8,
    report: Callable[[float, Spend], None] = lambda *_: None,
) -> list[Prelabel | None]:
    """What the model says about each text; None for those that the budget did not reach.

    heads: all those of one field, whose texts these are; one call asks for all of them. demonstrations: by the number
    of a text, those to show with it. variants: how many times, with another prompt each, an endpoint without
    log-probabilities is asked, so that agreement tells how sure it is. workers: calls in flight. report: (share done,
    spend so far); an exception that it raises ends the run, and what was answered stays in the cache. A bad answer
    costs only its own text. Raises ModelRefused, and ModelUnavailable for all of them.
    """
    run = _Run(Questions(tuple(heads), instructions, codec), chat, cache, budget, variants)
    results: list[Prelabel | None] = [None] * len(texts)
    with ThreadPoolExecutor(workers) as pool:
        numbers = {pool.submit(run.one, text, demonstrations, i): i for i, text in enumerate(texts)}
        try:
            for done, future in enumerate(as_completed(numbers), 1):
                results[numbers[future]] = future.result()
                report(done / len(texts), budget.spend())
        except BaseException:
            run.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return results


class _Run:
    """One run over many texts; its methods are called by many threads."""

    def __init__(self, questions: Questions, chat: Chat, cache: Cache, budget: Budget, variants: int) -> None:
        self._questions, self._chat, self._cache = questions, chat, cache
        self._budget, self._variants = budget, variants
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._unanswered = 0

    def stop(self) -> None:
        """Ask nothing more; what the cache has is still answered."""
        self._stopped.set()

    def one(self, text: str, demonstrations: Callable[[int], Sequence[Demonstration]], number: int) -> Prelabel | None:
        """What the model says about a text, None when there is no budget left for it."""
        account = _Account()
        try:
            return self._prelabel(text, demonstrations(number), account)
        except BudgetSpent:
            self.stop()
            return None
        except ModelRefused:
            self.stop()  # here, before this thread takes another text: a no to all is heard once by each
            raise
        except (Unreadable, RequestRefused) as error:
            return self._failed(error, account)
        except ModelUnavailable as error:
            with self._lock:
                self._unanswered += 1
                if self._unanswered >= UNANSWERED_IN_A_ROW:
                    self.stop()
                    raise
            return self._failed(error, account)

    def _failed(self, error: Exception, account: "_Account") -> Prelabel:
        cost = None if isinstance(error, ModelUnavailable) else account.cost_usd
        nothing = dict.fromkeys((head.from_name for head in self._questions.heads), ())
        return Prelabel(nothing, cost_usd=cost, cached=not account.fresh, error=str(error), answers=account.answers())

    def _prelabel(self, text: str, examples: Sequence[Demonstration], account: "_Account") -> Prelabel:
        heads = self._questions.heads
        if not text.strip():
            return Prelabel(dict.fromkeys((h.from_name for h in heads), ()), cost_usd=Decimal(0), cached=True)
        votes: dict[str, Vote] = {}  # two variants may be the same question, which has one vote
        unplaced = invalid = 0
        for variant in range(self._variants):
            said = _Said(text, heads)
            for window in windows(text):
                prompt = self._questions.about(text[window.start : window.end], examples, variant=variant)
                texts = (text, *prompt.texts[1:])  # who erases the text erases what was asked about its windows
                reading, answer = self._ask(prompt, texts, account)
                said.add(window, prompt, reading, answer)
            unplaced, invalid = unplaced + said.unplaced, invalid + said.invalid
            votes[prompt.system + prompt.user] = vote = said.vote()
            if account.has_logprobs and None not in vote.scores:
                break  # they say how sure it is: more prompts would only cost more
        answers, confidence = trusted(heads, text, list(votes.values()))
        cached = not account.fresh
        return Prelabel(answers, unplaced, invalid, confidence, account.cost_usd, cached, answers=account.answers())

    def _ask(self, prompt: Prompt, texts: Sequence[str], account: "_Account") -> tuple[Reading, ChatAnswer]:
        """What the model says, and the answer in which it does."""
        chat = self._chat
        request = ChatRequest(chat.endpoint, chat.model, prompt.system, prompt.user, prompt.schema, prompt.max_tokens)
        answer = self._complete(request, texts, account)
        try:
            return prompt.codec.read(answer.text, prompt.text), answer
        except Unreadable:
            answer = self._complete(replace(request, user=prompt.again), texts, account)
            return prompt.codec.read(answer.text, prompt.text), answer

    def _complete(self, request: ChatRequest, texts: Sequence[str], account: "_Account") -> ChatAnswer:
        """An answer that the model finished. Raises Unreadable when it cannot or will not."""
        answer = self._answer(request, texts, account)
        if answer.finish == "length":
            longer = replace(request, max_tokens=request.max_tokens * CUT_SHORT_FACTOR)
            answer = self._answer(longer, texts, account)
        if answer.finish != "stop":
            raise Unreadable("The answer was cut short." if answer.finish == "length" else "The model refused.")
        return answer

    def _answer(self, request: ChatRequest, texts: Sequence[str], account: "_Account") -> ChatAnswer:
        """From the cache, else asked and kept. Two threads with the same question ask once."""
        key = request.cache_key
        with self._lock:
            asking = self._asking[key]
        with asking:
            record = self._cache.get(key)
            if record is not None:
                return account.add(ChatAnswer.from_json(record), fresh=False)
            if self._stopped.is_set():
                raise BudgetSpent("The run is ending.", "Raise the budget to go on.")
            answer = self._chat.ask(request, self._budget)
            self._cache.put(key, answer.to_json(), texts)
        with self._lock:
            self._unanswered = 0
        return account.add(answer, fresh=True)


@dataclass(slots=True)
class _Account:
    """The answers that one document took."""

    kept: list[ChatAnswer] = field(default_factory=list)
    fresh: list[ChatAnswer] = field(default_factory=list)

    def add(self, answer: ChatAnswer, *, fresh: bool) -> ChatAnswer:
        """Count an answer, and hand it back."""
        (self.fresh if fresh else self.kept).append(answer)
        return answer

    @property
    def has_logprobs(self) -> bool:
        return any(answer.tokens for answer in (*self.kept, *self.fresh))

    @property
    def cost_usd(self) -> Decimal | None:
        """Of fresh answers; None if that of any is unknown."""
        costs = [answer.cost_usd for answer in self.fresh]
        return None if None in costs else sum(filter(None, costs), Decimal(0))

    def answers(self) -> tuple[ChatAnswer, ...]:
        """All of them, without their tokens, which are many."""
        return tuple(replace(answer, tokens=None) for answer in (*self.kept, *self.fresh))


class _Said:
    """What the windows of one text say, under one variant of the prompt."""

    def __init__(self, text: str, heads: Sequence[Head]) -> None:
        self._text, self._heads = text, heads
        self._spans: defaultdict[str, list[Span]] = defaultdict(list)
        self._choices: defaultdict[str, list[Choice]] = defaultdict(list)
        self.unplaced = self.invalid = 0

    def add(self, window: Window, prompt: Prompt, reading: Reading, answer: ChatAnswer) -> None:
        """What the answer says about the window, with scores where there are log-probabilities."""
        self.invalid += reading.invalid
        for asked in prompt.asked:
            name = asked.head.from_name
            beliefs = _beliefs(prompt, asked, reading, answer)
            if name in reading.quotes:
                pairs = zip(reading.quotes[name], beliefs, strict=True)
                quotes = [replace(quote, score=belief[quote.label]) if belief else quote for quote, belief in pairs]
                spans, lost = place(prompt.text, quotes)
                self._spans[name] += window.own(spans)
                self.unplaced += lost
            else:
                self._choices[name].append(_choice(window, reading.chosen[name], beliefs))

    def vote(self) -> Vote:
        """What they say of the text as a whole."""
        answers: dict[str, tuple[Span, ...]] = {}
        scores: list[float | None] = []
        for head in self._heads:
            if head.kind == "spans":
                answers[head.from_name] = longest_first(self._spans[head.from_name])[0]
                scores += [span.score for span in answers[head.from_name]]
            else:
                labels = elected(head, self._choices[head.from_name])
                answers[head.from_name] = chosen_spans(self._text, labels)
                scores += labels.values()
        return Vote(answers, tuple(scores))


def _choice(window: Window, labels: Sequence[str], beliefs: Sequence[Mapping[str, float] | None]) -> Choice:
    """One of several labels is believed by what is known where it is named; of a single choice all options are."""
    known = [belief for belief in beliefs if belief is not None]
    if len(known) < len(labels):
        return Choice(tuple(labels), None, window.characters)
    named = {label: belief[label] for label, belief in zip(labels, known, strict=True)}
    return Choice(tuple(labels), (dict(known[0]) if len(labels) == 1 else {}) | named, window.characters)


def _beliefs(prompt: Prompt, asked: Asked, reading: Reading, answer: ChatAnswer) -> list[dict[str, float] | None]:
    """For each label that the answer names under a head, how sure the model is of it and of its other options."""
    name = asked.head.from_name
    beliefs: list[dict[str, float] | None] = []
    left = list(asked.options)
    for number, at in enumerate(reading.label_at[name]):
        if number and asked.head.kind == "choices":
            left.remove(reading.chosen[name][number - 1])  # nothing is chosen twice
        spelled = {prompt.codec.spelled(asked, option): option for option in left}
        sure = None if at is None else option_probabilities(answer, at, list(spelled))
        beliefs.append(None if sure is None else {spelled[text]: share for text, share in sure.items()})
    return beliefs

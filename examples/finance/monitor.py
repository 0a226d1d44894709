"""Watching a stream: the share of negative posts among the last ones, and an alert when it passes a threshold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime

from attrs import define, field, frozen

__all__ = ["Alert", "Point", "Post", "Rolling", "watch"]


@frozen
class Post:
    """One post with what a model says of it.

    Args:
        place: Its number in the stream, counted from 1.
        date: When it was posted; None where the data have no dates.
        text: What it says.
        sentiment: ``positive``, ``negative`` or ``neutral``.
        score: How sure the model is, from 0 to 1.
    """

    place: int
    date: datetime | None
    text: str
    sentiment: str
    score: float = 1.0

    @property
    def when(self) -> str:
        return f"#{self.place}" if self.date is None else self.date.isoformat(" ", "minutes")


@frozen
class Alert:
    """A stretch of the stream in which negative posts were many: from ``begin`` to ``end``, None while it lasts."""

    begin: Post
    share: float
    reasons: tuple[Post, ...]
    end: Post | None = None


@frozen
class Point:
    """The state after one post: the share, whether an alert is on, and the alert that this post began or ended."""

    post: Post
    share: float
    on: bool
    begun: Alert | None = None
    ended: Alert | None = None


@define
class Rolling:
    """The share of negative posts among the last ``window``, and whether it is alarming.

    An alert begins when the share reaches ``threshold`` and ends when it falls below ``threshold - slack``, so that it
    does not flicker. Nothing is said before the window is full once.

    >>> rolling = Rolling(window=2, threshold=0.5, slack=0.1)
    >>> posts = [Post(n, None, "", sentiment) for n, sentiment in enumerate(["neutral", "negative", "neutral"], 1)]
    >>> [(rolling.add(post).share, rolling.on) for post in posts]
    [(0.0, False), (0.5, True), (0.5, True)]
    """

    window: int = 9
    threshold: float = 0.5
    slack: float = 0.1
    _last: deque[Post] = field(init=False, factory=deque)
    _alert: Alert | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if self.window < 1 or not 0 < self.threshold <= 1 or not 0 <= self.slack < self.threshold:
            raise ValueError(
                f"window {self.window}, threshold {self.threshold} and slack {self.slack} do not go together\n"
                "The window is 1 or more, the threshold a share above 0, the slack smaller than the threshold."
            )

    @property
    def on(self) -> bool:
        return self._alert is not None

    def add(self, post: Post) -> Point:
        """Take one more post; return the state after it."""
        self._last.append(post)
        if len(self._last) > self.window:
            self._last.popleft()
        negative = [one for one in self._last if one.sentiment == "negative"]
        share = len(negative) / len(self._last)
        begun = ended = None
        if self._alert is None and len(self._last) == self.window and share >= self.threshold:
            surest = sorted(negative, key=lambda one: (-one.score, one.place))[:3]
            self._alert = begun = Alert(post, share, tuple(sorted(surest, key=lambda one: one.place)))
        elif self._alert is not None and share < self.threshold - self.slack:
            ended = Alert(self._alert.begin, self._alert.share, self._alert.reasons, post)
            self._alert = None
        return Point(post, share, self.on, begun, ended)


def watch(posts: Iterable[Post], rolling: Rolling) -> Iterator[Point]:
    """Yield the state after each post, as the posts come; only the window is held."""
    for post in posts:
        yield rolling.add(post)

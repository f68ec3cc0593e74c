"""What a model is shown of a text: without what people do not see, between marks that the text cannot contain."""

import re
from hashlib import blake2b

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def show(text: str) -> str:
    """The text as a model sees it: without characters that nobody sees and that steer models or terminals."""
    seen = _UNSEEN.sub(lambda match: " " if match[0].isspace() else "", text)
    return _HALF_PAIR.sub("\ufffd", seen).replace("<|", "<\u200c|")  # part of a chat template, to some servers


def mark(text: str) -> str:
    """16 characters that do not stand in the text; always the same, or no answer could be found again."""
    found = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return mark(text + found) if found in text else found


def fenced(name: str, text: str) -> str:
    """The text between two lines that it cannot contain."""
    tag = f"{name}-{mark(text)}"
    return f"<{tag}>\n{text}\n</{tag}>"

"""What people say of labels on a command line: names, meanings, and a description of the work.

Each is a text, or `@FILE` with the text in a file. Knows nothing of heads or models.
"""

from pathlib import Path

from edgewise.errors import InputError

Labels = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def text_or_file(given: str) -> str:
    """The text; of `@FILE` what stands in it. Raises InputError if that cannot be read."""
    if not given.startswith("@"):
        return given
    name = given[1:]
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"'{name}' cannot be read: {error.strerror}.", "Correct the path after the @.") from None
    except UnicodeDecodeError:
        raise InputError(f"'{name}' is not UTF-8.", "Save it as UTF-8.") from None


def labels_given(given: str) -> Labels:
    """The labels and what is said of them: `a,b,c`, or `@FILE` with a label on each line, a tab and its meaning."""
    if not given.startswith("@"):
        return tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip())), ()
    lines = [line.partition("\t") for line in text_or_file(given).splitlines() if line.strip()]
    said = {name.strip(): meaning.strip() for name, _, meaning in lines}
    return tuple(said), tuple((name, meaning) for name, meaning in said.items() if meaning)

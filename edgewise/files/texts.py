"""The text of a row, from one column or several. Knows nothing of files or labels."""

from collections.abc import Mapping, Sequence


def text_of_row(values: Mapping[str, str], columns: Sequence[str]) -> str:
    """One column: its value as it is. Several: "name: value, name: value", those without a value left out."""
    if len(columns) == 1:
        return values[columns[0]]
    return ", ".join(f"{name}: {values[name]}" for name in columns if values[name].strip())


def columns_of(option: str) -> tuple[str, ...]:
    """The columns that an option such as `title,body` names, blanks around them left out. Each once."""
    return tuple(dict.fromkeys(name.strip() for name in option.split(",") if name.strip()))

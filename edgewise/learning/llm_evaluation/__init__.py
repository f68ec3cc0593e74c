"""How good language models are at a project's labels, and what they take, on tasks that people have labelled.

values.py: what comes in. mistakes.py: right and wrong. intervals.py: how sure. scores.py: of one source at one head.
effort.py, forecast.py: what asking takes. advice.py: sentences. report.py: all of it.
"""

from edgewise.learning.llm_evaluation.effort import Outlook, taken_in_all
from edgewise.learning.llm_evaluation.forecast import Forecast, Taken, Typical, forecast, per_day, typical
from edgewise.learning.llm_evaluation.intervals import Interval
from edgewise.learning.llm_evaluation.report import HEADER, Report, amount, evaluate, finite, table
from edgewise.learning.llm_evaluation.values import Answer, Examined, Source

__all__ = [
    "HEADER",
    "Answer",
    "Examined",
    "Forecast",
    "Interval",
    "Outlook",
    "Report",
    "Source",
    "Taken",
    "Typical",
    "amount",
    "evaluate",
    "finite",
    "forecast",
    "per_day",
    "table",
    "taken_in_all",
    "typical",
]

"""One chat call to a language model: provider, retries, usage, price, budget.

values.py: question, answer, price. prices.py: list prices. budget.py: limits, and who may be asked. vendors.py: the
SDKs. calls.py: calls that come through.
"""

from edgewise.services.llm.budget import Budget, BudgetSpent, Spend, refuse_outside
from edgewise.services.llm.calls import PROBE_USER, Cache, Chat, ProviderChat, open_chat
from edgewise.services.llm.prices import price_of
from edgewise.services.llm.values import (
    Abilities,
    ChatAnswer,
    ChatRequest,
    Price,
    Token,
    Usage,
    option_probabilities,
)
from edgewise.services.llm.vendors import ModelRefused, ModelUnavailable, RequestRefused

__all__ = [
    "PROBE_USER",
    "Abilities",
    "Budget",
    "BudgetSpent",
    "Cache",
    "Chat",
    "ChatAnswer",
    "ChatRequest",
    "ModelRefused",
    "ModelUnavailable",
    "Price",
    "ProviderChat",
    "RequestRefused",
    "Spend",
    "Token",
    "Usage",
    "open_chat",
    "option_probabilities",
    "price_of",
    "refuse_outside",
]

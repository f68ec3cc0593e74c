"""What a model costs where nobody told us: the table of the library genai-prices, which is on this machine.

Only for a vendor's own address: the same name elsewhere (a proxy, a deployment, a server of one's own) may cost
anything. An unknown price is None and never 0, and nothing is fetched.
"""

from decimal import Decimal
from typing import Literal
from urllib.parse import urlsplit

from edgewise.services.llm.calls import VENDORS
from edgewise.services.llm.values import Price


def price_of(provider: Literal["openai", "anthropic"], model: str, base_url: str | None = None) -> Price | None:
    """The vendor's list price of today for a prompt of ordinary length; its `source` names table, version and model."""
    if base_url is not None and urlsplit(base_url)[:2] != urlsplit(VENDORS[provider])[:2]:
        return None
    from genai_prices import Usage, __version__, calc_price

    def dollars(**tokens: int) -> Decimal:
        return calc_price(Usage(**tokens), model, provider_id=provider).total_price * 1_000

    try:
        found = calc_price(Usage(input_tokens=1_000), model, provider_id=provider).model.id
        input_usd, output_usd = dollars(input_tokens=1_000), dollars(output_tokens=1_000)
        cached_usd = dollars(input_tokens=1_000, cache_read_tokens=1_000)
    except LookupError:
        return None
    if not (input_usd and output_usd):
        return None  # not for chats, or not filled in
    return Price(input_usd, output_usd, cached_usd, f"genai-prices {__version__}: {found}")

"""What PRIVATE forbids: a language model on a machine that is neither this one nor in ALLOWED_HOSTS."""

from edgewise.services.llm.budget import refuse_outside
from edgewise.settings import Settings


def refuse_endpoint(settings: Settings) -> None:
    """At start: raises SettingsError, with the reason, if PRIVATE forbids the language model that is set."""
    if settings.llm_provider is not None:
        refuse_outside(settings.llm_base_url, private=settings.private, allowed_hosts=settings.allowed_hosts)

"""Where Label Studio calls us, and what it must send: our addresses, the webhook of each, and our login.

Values only: nothing here asks or changes anything.
"""

from edgewise.services.store import Project
from edgewise.settings import Settings

SAMPLING = "Uncertainty sampling"


def addresses(project: Project) -> list[str]:
    """Where Label Studio has ever called us for this project: our port or our name may have changed."""
    return list(project.connection.get("addresses") or [])


def same_place(one: str, other: str) -> bool:
    """Two addresses of one backend."""
    return one.rstrip("/").casefold() == other.rstrip("/").casefold()


def login(settings: Settings) -> dict[str, str]:
    """The login that our server wants, as fields of a backend in Label Studio; empty if it wants none."""
    if not settings.basic_auth_user:
        return {}
    password = settings.basic_auth_pass.get_secret_value()
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": settings.basic_auth_user, "basic_auth_pass": password}


def webhook_of(address: str) -> str:
    """Where Label Studio sends the events of a backend."""
    return f"{address.rstrip('/')}/webhook"

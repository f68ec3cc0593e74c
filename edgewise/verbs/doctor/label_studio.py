"""Label Studio itself: is it there, do we know its version, does it take our token, may it call us, does it order."""

from edgewise.errors import EdgewiseError, StudioGone
from edgewise.services.studio_http import Protected
from edgewise.verbs.doctor.finding import Check, Finding, fault, fine, skipped, unchecked
from edgewise.verbs.doctor.scene import Scene

TESTED = "1.23.2"


def answers(scene: Scene) -> Finding:
    """Asked without a token."""
    try:
        return fine(f"version {scene.release}")
    except EdgewiseError as error:
        return fault(error.what, error.mend)


def known_version(scene: Scene) -> Finding:
    """Each of the calls that we make was measured in one version."""
    if scene.release.split(".")[:2] == TESTED.split(".")[:2]:
        return fine()
    return fault(
        f"Label Studio is {scene.release}; we are tested with {TESTED} only, and its API changes without notice.",
        f"Install label-studio=={TESTED}. If the round trip passes, the order works all the same.",
    )


def token(scene: Scene) -> Finding:
    """Of either kind. The mend is that of what Label Studio said."""
    if not scene.system.settings.label_studio_api_key.get_secret_value():
        return fault("There is no token for Label Studio.", "Set LABEL_STUDIO_API_KEY (Account & Settings has one).")
    _ = scene.release  # away, it says nothing about tokens
    try:
        _ = scene.owner
    except EdgewiseError as error:
        return fault(f"{error.what} It has the form of a {scene.studio.token_kind}.", error.mend)
    return fine(scene.studio.token_kind)


def has_project(scene: Scene) -> Finding:
    """Under this token: Label Studio says 404 to people of other organisations too."""
    try:
        _ = scene.raw
    except StudioGone:
        return fault(
            f"Label Studio shows no project {scene.ls_id} to this token.",
            "See the number in the address of the project's page, and that the token's owner sees the project.",
        )
    return fine()


def reaches_us(scene: Scene) -> Finding:
    """Label Studio has just called /health and /setup, and says how that went."""
    if not scene.ours:
        return skipped("no ML backend of the project points at us")
    backend = scene.ours[0]
    if backend.get("state") == "DI":
        return refused_or_away(scene, int(backend["id"]), str(backend["url"]))
    if backend.get("state") == "ER" and not wants_login(scene):
        return fault(
            "Label Studio reaches us, and our server does not answer /setup as it should, or not in time.",
            "See the server's log: it says why; then open the project's Settings > Model.",
        )
    return fine()


def refused_or_away(scene: Scene, backend_id: int, url: str) -> Finding:
    """Why Label Studio does not reach us: saving the entry as it is, it says so when it is its own protection."""
    try:
        scene.studio.update_backend(backend_id, scene.ls_id, url)
    except Protected as error:
        return fault(f"{error.what} It does not call us.", error.mend)
    except EdgewiseError:
        return fault(
            "Label Studio cannot reach the address of our backend: no pre-labels, no Start Training.",
            "Start the server (`make serve`), and look from where Label Studio runs: in a container, localhost is the "
            "container. Correct the address under Settings > Model.",
        )
    return fine()


def login(scene: Scene) -> Finding:
    """What Label Studio sends with its calls must be what our server wants."""
    if not scene.ours:
        return skipped("no ML backend of the project points at us")
    if scene.ours[0].get("state") == "DI":
        return unchecked("Label Studio does not reach us.", "Mend that first, then ask again.")
    if wants_login(scene):
        return fault(
            "Our server answers Label Studio with 401: it is sent another user and password than it wants.",
            "Enter BASIC_AUTH_USER and BASIC_AUTH_PASS under Settings > Model > Edit (Basic Authentication).",
        )
    return fine("none" if not scene.system.settings.basic_auth_user else "")


def wants_login(scene: Scene) -> bool:
    """Whether our server has refused what Label Studio sent."""
    backend = scene.ours[0]
    return backend.get("state") == "ER" and str(backend.get("error_message") or "").startswith("401 ")


def network(scene: Scene) -> Finding:
    """Tried with a webhook of a project of our own."""
    return scene.trial.network


def round_trip(scene: Scene) -> Finding:
    """Tried in a project of our own."""
    return scene.trial.round_trip


FIRST = (
    Check("answers", "Label Studio answers", answers),
    Check("version", "Label Studio's version is one that we are tested with", known_version),
    Check("token", "Label Studio takes our token", token),
    Check("project", "the token's owner sees the project", has_project),
)
CALLS = (
    Check("network", "Label Studio's network protection allows our address", network),
    Check("reached", "Label Studio reaches our server", reaches_us),
    Check("login", "Label Studio sends the login that our server wants", login, fixable=True),
)
LAST = (Check("round-trip", "predictions are pushed, served hardest first and removed", round_trip),)

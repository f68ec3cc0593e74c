"""Every error we raise on purpose, as one tree: `what` went wrong, with its values, and `mend`, the next step.

    EdgewiseError                500
      InputError                 400   what the caller sent cannot be read
        SchemaError              422   a labelling config that we cannot learn from
        DataError                422   a task that we cannot predict: no text, a URL, not a string
      Unauthorized               401
      Forbidden                  403   a form or a call that a page of another site made the browser send
      NotFound                   404   an unknown project, version or job
      Conflict                   409   cannot be done in the present state
      TooMany                    429
      Unavailable                503   something that we need is away; the call is worth repeating
        StudioUnavailable        503   Label Studio is down, slow or answers garbage
      StudioRefused              409   Label Studio answers, and says no: token, rights, validation
      StudioGone                 404   Label Studio says that it does not exist (any more)
      SettingsError              500   a setting that we cannot work with
      Cancelled                  409   somebody cancelled this job

Mistakes of the programmer stay ValueError and TypeError.
"""


class EdgewiseError(Exception):
    """Base of all we raise on purpose. Both arguments go to `Exception`, or unpickling in another process fails."""

    status = 500  # what the web layer answers

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.what} {self.mend}"


class InputError(EdgewiseError):
    """What the caller sent cannot be read."""

    status = 400


class SchemaError(InputError):
    """A labelling config that we cannot learn from."""

    status = 422


class DataError(InputError):
    """A task that we cannot predict. `what` names the field, never its content."""

    status = 422


class Unauthorized(EdgewiseError):
    """Missing or wrong credentials."""

    status = 401


class Forbidden(EdgewiseError):
    """It may have been sent by a page of another site."""

    status = 403


class NotFound(EdgewiseError):
    """An unknown project, version or job."""

    status = 404


class Conflict(EdgewiseError):
    """It cannot be done in the present state."""

    status = 409


class TooMany(EdgewiseError):
    """Over a rate limit."""

    status = 429


class Unavailable(EdgewiseError):
    """Something that we need is away; worth repeating."""

    status = 503


class StudioUnavailable(Unavailable):
    """Label Studio is down, slow, or answers garbage."""


class StudioRefused(EdgewiseError):
    """Label Studio answers, and says no."""

    status = 409


class StudioGone(EdgewiseError):
    """Label Studio says that it does not exist, or no longer."""

    status = 404


class SettingsError(EdgewiseError):
    """A setting that we cannot work with."""


class Cancelled(EdgewiseError):
    """Somebody cancelled this job."""

    status = 409

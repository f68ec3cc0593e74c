"""The server without its worker: what fuzzing queues waits, so that `make test` is not held up by a hundred trainings.

`make fuzz` runs the whole of it, `_wsgi:app`.
"""

import model
from edgewise.logs import set_up_logging
from edgewise.web.server import create_app

system = model.open_system()
set_up_logging(system.settings.log_level)
app = create_app(model.backend_of(system), system.settings)

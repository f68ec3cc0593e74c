"""What connect does not touch: webhooks and backends of other people."""

from collections.abc import Iterator

import pytest

from edgewise.errors import StudioRefused
from edgewise.services.studio import Studio
from edgewise.verbs.connect import connect, note_address
from examples.label_studio import RunningStudio
from tests.http_stand_in import as_json, serving
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import Make, do, new_studio_project


@pytest.fixture
def new_project(label_studio: RunningStudio, studio: Studio) -> Iterator[StudioProject]:
    """With one task."""
    project = new_studio_project(label_studio, studio, [{"data": {"text": "Anna lives in Paris."}}])
    yield project
    project.http.close()


def test_a_backend_that_is_not_known_to_be_ours_keeps_its_webhook(
    make_system: Make, new_project: StudioProject
) -> None:
    system = make_system()
    with serving(lambda *_: as_json({"status": "UP", "model_version": "theirs"})) as url:
        new_project.studio.add_backend(new_project.id, url, "Somebody else's")
        before = new_project.studio.webhooks(new_project.id)
        assert [hook["url"].startswith(url) for hook in before] == [True]
        key = system.meet(new_project.id).key
        with pytest.raises(StudioRefused, match="no ML backend that points at us") as told:
            do(system, key, connect)
        assert "--url" in told.value.mend
        assert new_project.studio.webhooks(new_project.id) == before
        note_address(system, system.by_key(key), url)  # as `connect --url` does
        do(system, key, connect)
        (hook,) = new_project.studio.webhooks(new_project.id)
        assert hook["headers"] == {"X-Edgewise-Secret": system.by_key(key).connection["secret"]}

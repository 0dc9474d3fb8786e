"""Requests that schemathesis makes up from the API's own schema, good and bad ones: none is answered by a 5xx."""

from benchmarks.api_requests import request_drill


def test_no_request_made_from_the_schema_fails_the_server() -> None:
    found = request_drill(200)
    assert found["caught"], "a route that fails was called good"
    assert found["failed"] == [] and found["requests"] >= 200
    assert {200, 422} <= set(found["statuses"]), "neither good nor bad requests alone"

import pytest
from tests.unit_tests.server.conftest import *
from tests.unit_tests.server.test_limits import *
from tests.unit_tests.server.test_limits import gate, impatient, waiting
@pytest.mark.parametrize("i", range(40))
def test_loop(serve, together, gate, i):
    server = together({"x/a": Reply(text="One two", gate=gate), "x/b": "B.", "x/c": "C"})
    client = serve(ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c"), keep_alive=0.01)
    with impatient(client, {**HELLO, "stream": True}):
        waiting(server, "x/a")
    try:
        server.wait_for(lambda: "x/a" in server.closed_by_client)
    except TimeoutError:
        print("STATE", server.closed_by_client, server.in_flight, server.connections, [r["model"] for r in server.requests], client.get("/metrics").text[-600:])
        raise

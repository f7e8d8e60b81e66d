"""A real Jupyter kernel, whose cells run inside an event loop: direct calls work there as anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.root import machine

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = [
    """
import asyncio
assert asyncio.get_running_loop().is_running()
from libnetwork_py import NetworkController
""",
    """
controller = NetworkController.temporary(host={host!r})
front = controller.create_network('front')
""",
    """
web, client = (controller.create_sandbox(f'cell-{{name}}') for name in ('web', 'client'))
address = web.connect(front, ports=['8080:80']).addresses[0]
own = client.connect(front).addresses[0]
""",
    """
client.run(['ping', '-c', '1', '-W', '5', str(address)], check=True, capture_output=True, timeout=120).returncode
""",
    """
server = web.socket()
server.bind(('0.0.0.0', 80)); server.listen()
server.settimeout(5)
with client.socket() as sock:
    sock.settimeout(5)
    sock.connect((str(address), 80))
connection, peer = server.accept()
connection.close(); server.close()
peer[0] == str(own)
""",
    """
await asyncio.to_thread(controller.create_network, 'back')
""",
    """
async def inside():
    return controller.sandboxes()
len(await inside())
""",
    """
with controller.plan() as plan:
    controller.create_network('planned')
'ip link add' in plan.text
""",
    """
controller.close()
controller
""",
]


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
def test_a_notebook(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell of a notebook that makes, uses and takes away a network runs, and nothing is left."""
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.format(host=host)) for cell in CELLS])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    said = [output["data"]["text/plain"] for cell in book.cells for output in cell.outputs if "data" in output]
    assert said[:2] == ["0", "True"]
    assert said[2].startswith("<Network back bridge 172.18")
    assert said[3:5] == ["2", "True"]
    assert not [output for cell in book.cells for output in cell.outputs if output.get("name") == "stderr"]
    assert set(machine.links(host)) == {"lo"}

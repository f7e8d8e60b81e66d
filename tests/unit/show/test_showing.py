"""What a notebook is shown of each object: on the fake kernel, and of scenes made by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from libnetwork_py import InvalidParameter, NetworkController, NotFound, experiments
from libnetwork_py.lifecycle.survey import survey
from libnetwork_py.scene import Scene
from libnetwork_py.show import Drawing, bundle
from libnetwork_py.show.layout import lay_out
from libnetwork_py.show.shapes import TIER
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller

SVG = "{http://www.w3.org/2000/svg}"


def shown(thing: object) -> dict[str, str]:
    """The bundle of an object."""
    found: dict[str, str] = thing._repr_mimebundle_()  # type: ignore[attr-defined]
    return found


def parsed(markup: str) -> ET.Element:
    """Markup as a tree; what is not well-formed raises."""
    return ET.fromstring(markup)  # noqa: S314 (it was made here)


def words(svg: str) -> list[str]:
    """The texts of a drawing, which must be well-formed."""
    return [each.text or "" for each in parsed(svg).iter(f"{SVG}text")]


@pytest.fixture
def lab() -> Iterator[NetworkController]:
    """A router-less lab: two sandboxes on ``front``, one of them and a third on ``back``, which has no way out."""
    with controller(FakeKernel()) as some:
        front, back = some.create_network("front", subnets="10.1.0.0/24"), some.create_network("back", internal=True)
        web, client, store = (some.create_sandbox(name) for name in ("web", "client", "store"))
        web.connect(front, ports=["8080:80"])
        web.connect(back)
        client.connect(front)
        store.connect(back)
        store.connect(back, name="second")
        front.create_endpoint("spare")
        yield some


def test_the_drawing_says_who_hangs_on_what(lab: NetworkController) -> None:
    """Every network, sandbox, address, published port and unjoined endpoint is in the drawing, once."""
    said = words(lab.draw().svg)
    assert sorted(each for each in said if each in {"front", "back", "web", "client", "store", "spare"}) == [
        "back", "client", "front", "spare", "store", "web",
    ]  # fmt: skip
    for sandbox in lab.sandboxes():
        for endpoint in sandbox.endpoints():
            assert f"{endpoint.interface} {endpoint.addresses[0]}" in said
    assert {"8080 → 80/tcp", "not joined", "host and outside", "bridge · 10.1.0.0/24 · gateway 10.1.0.1"} <= set(said)


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_nothing_overlaps(count: int) -> None:
    """Boxes and bars keep clear of each other and inside the picture, however many there are."""
    with controller(FakeKernel()) as some:
        networks = [some.create_network(f"net{number}") for number in range(3)]
        for number in range(count):
            box = some.create_sandbox(f"box{number}")
            box.connect(networks[number % 3])
            if number % 4 == 0:
                box.connect(networks[(number + 1) % 3])
        layout = lay_out(survey(some._engine))
    things = [(each.x, each.y, each.width, each.height) for each in layout.boxes]
    things += [(each.x, each.y, each.width, 38.0) for each in layout.bars]
    for number, (x, y, width, height) in enumerate(things):
        assert x >= 0, "left of the picture"
        assert x + width <= layout.width
        assert 0 <= y <= y + height <= layout.height
        for ox, oy, other_width, other_height in things[number + 1 :]:
            assert x + width <= ox or ox + other_width <= x or y + height <= oy or oy + other_height <= y
    assert len(layout.boxes) <= 25


def test_a_network_between_two_routers_is_a_cable() -> None:
    """Networks without a way out that join two sandboxes are drawn as wires, and tiers follow the label."""
    with controller(FakeKernel()) as some:
        top = some.create_sandbox("top", labels={TIER: "0"}, sysctls={"net.ipv4.ip_forward": 1})
        for name in ("left", "right"):
            link = some.create_network(f"to-{name}", internal=True)
            top.connect(link)
            some.create_sandbox(name, labels={TIER: "1"}).connect(link)
        layout = lay_out(survey(some._engine))
        said = words(some.draw().svg)
    heights = {box.title: box.y for box in layout.boxes}
    assert not layout.bars
    assert len(layout.wires) == 2
    assert heights["top"] < heights["left"] == heights["right"]
    assert {"router", "to-left", "to-right"} <= set(said)


def test_a_links_condition_is_seen(lab: NetworkController) -> None:
    """Rate and loss, a pulled cable and a partition are said in the box, in the outline and in the table; the wire is dashed."""
    web, client = lab.sandbox("web"), lab.sandbox("client")
    web.endpoints()[0].shape(rate="10mbit", delay="20ms")
    experiments.partition([web], [client])
    experiments.pull(client)
    drawing = lab.draw()
    assert {"10 Mbit/s, 20 ms", "cable pulled", "apart from 1 address"} <= set(words(drawing.svg))
    assert "[down, apart from 2]" in str(drawing)
    assert 'stroke-dasharray="2 4"' in drawing.svg
    assert "10 Mbit/s" in shown(lab)["text/html"]


def test_hostile_text_is_only_text(lab: NetworkController) -> None:
    """Names and messages that would be markup, or that XML forbids, are shown as text in every form."""
    hostile = "</title></svg><script>alert(1)</script>\x00\x1b'\"&"
    scene = survey(lab._engine, hostile)
    scene = evolve(
        scene,
        note=hostile,
        networks=tuple(evolve(each, name=hostile, driver=hostile) for each in scene.networks),
        sandboxes=tuple(evolve(each, name=hostile, key=hostile) for each in scene.sandboxes),
        endpoints=tuple(evolve(each, name=hostile, ifname=hostile) for each in scene.endpoints),
    )
    forms = bundle(scene)
    parsed(forms["image/svg+xml"])
    parsed(forms["text/html"].replace("&nbsp;", " "))
    assert "<script" not in forms["image/svg+xml"] + forms["text/html"]
    assert "\x00" not in forms["text/html"]


def test_every_object_has_a_table_and_text(lab: NetworkController) -> None:
    """Controller, network, sandbox, endpoint, plan, report, events, one event and information: HTML where it helps, text always."""
    with lab.plan() as plan:
        lab.create_network("planned")
    events = lab.events(since=0)
    front, web = lab.network("front"), lab.sandbox("web")
    things: list[object] = [
        lab,
        front,
        web,
        web.endpoints()[0],
        plan,
        lab.reconcile(),
        events,
        next(events),
        lab.info(),
    ]
    for thing in things:
        forms = shown(thing)
        assert forms["text/plain"]
        parsed(f"<body>{forms['text/html']}</body>")
        assert "<script" not in forms["text/html"]
    assert "ip link add" in shown(plan)["text/html"]
    assert shown(front)["text/plain"] == repr(front)
    assert "store" not in words(shown(front)["image/svg+xml"])
    assert shown(web)["text/html"].count("<table") == 3


def test_events_shown_are_not_read(lab: NetworkController) -> None:
    """Showing the events that wait leaves them to be read."""
    with lab.events(since=0) as events:
        first = events.peek()[0]
        assert "created" in shown(events)["text/html"]
        assert next(events) == first


def test_a_finding_is_in_the_reports_table() -> None:
    """A report's table names the object, how it differs and that it was mended."""
    kernel = FakeKernel()
    with controller(kernel) as some:
        some.create_sandbox("web").connect(some.create_network("front"))
        lost = next(word for word in kernel.state() if word.key[0] == "address" and word.key[1])
        kernel.disturb(remove=[lost])
        text = shown(some.reconcile())["text/html"]
    assert "missing" in text
    assert "ip -n web addr add" in text
    assert "yes" in text


def test_only_what_is_asked_for(lab: NetworkController) -> None:
    """``include`` and ``exclude`` of the display protocol are followed."""
    assert set(lab._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(lab._repr_mimebundle_(exclude={"text/html"})) == {"text/plain", "image/svg+xml"}


@contextmanager
def busy(some: NetworkController) -> Iterator[None]:
    """Another thread holds the controller for the body's time."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with some.batch():
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_showing_does_not_wait_for_others(lab: NetworkController) -> None:
    """While another thread's batch is open, what was last known is shown, and said to be that."""
    with busy(lab):
        text = shown(lab)["text/plain"]
    assert "the controller is busy" in text
    assert "web" in text


def test_showing_inside_ones_own_batch(lab: NetworkController) -> None:
    """Inside a batch the picture has what the batch will make."""
    with lab.batch():
        lab.create_sandbox("coming")
        assert {"coming"} <= set(words(lab.draw().svg))
        assert "inside a batch" in str(lab.draw())


def test_a_kernel_that_hangs_hangs_no_picture(lab: NetworkController, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that does not answer for counters costs the picture its counters, no more."""
    gate = threading.Event()

    def hang(*_: object) -> Any:
        gate.wait(30)
        return {}

    monkeypatch.setattr(lab._engine.env.kernel, "statistics", hang)
    said = words(lab.draw().svg)
    gate.set()
    assert "web" in said
    assert not [each for each in said if each.startswith("↓")]


def test_a_closed_controller_can_be_shown() -> None:
    """After ``close`` an object shows what was."""
    some = controller(FakeKernel())
    front = some.create_network("front")
    some.close()
    assert "front" in shown(front)["text/plain"]
    assert shown(some)["text/plain"]


def test_a_drawing_is_saved(lab: NetworkController, tmp_path: Path) -> None:
    """``save`` writes the same picture, as a file of its own."""
    drawing = lab.draw()
    path = drawing.save(tmp_path / "lab.svg")
    assert words(path.read_text()) == words(drawing._repr_svg_())
    assert "web" in str(drawing)


def test_an_empty_scene_is_a_picture() -> None:
    """Nothing is shown as nothing."""
    assert "no networks, no sandboxes" in words(Drawing(Scene("empty")).svg)


def test_a_graph(lab: NetworkController) -> None:
    """Networks and sandboxes are nodes, joined endpoints are edges; two endpoints between the same are two edges."""
    made = lab.to_networkx()
    store, back = lab.sandbox("store"), lab.network("back")
    assert made.number_of_edges() == 5
    assert made.number_of_edges(store.id, back.id) == 2
    assert made.nodes[store.id] == {"kind": "sandbox", "name": "store", "router": False}
    assert {data["interface"] for _, _, data in made.edges(store.id, data=True)} == {"eth0", "eth1"}


def test_names_complete_and_are_found(lab: NetworkController) -> None:
    """The names that a notebook offers in brackets lead to the objects; what two have is told apart."""
    assert lab._ipython_key_completions_() == ["back", "client", "front", "store", "web"]
    assert lab["web"] == lab.sandbox("web")
    assert lab["front"] == lab.network("front")
    with pytest.raises(NotFound):
        lab["nobody"]
    lab.create_sandbox("front")
    with pytest.raises(InvalidParameter, match="network and a sandbox"):
        lab["front"]


def test_a_controller_loads_nothing_that_draws() -> None:
    """Making networks loads neither the drawing's room nor networkx; drawing does not load networkx or pandas."""
    script = """
import sys
from libnetwork_py import NetworkController
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
some = NetworkController.over(MemoryStore(), FakeKernel())
some.create_network("front")
print([each for each in sys.modules if each.startswith(("libnetwork_py.show", "networkx", "pandas", "IPython"))])
some.draw().svg
print([each for each in sys.modules if each in ("networkx", "pandas", "IPython")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]

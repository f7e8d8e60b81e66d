"""The house's rules hold: `libnetwork_py`'s sources break none, and a tree that breaks each of them is found out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.architecture import rules

TOP = "libnetwork_py"


def _root() -> Path:
    spec = find_spec(TOP)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


ROOT = _root()
MODULES = rules.read(ROOT)

EXCUSED = {
    "kernel/api.py: Kernel": "is the contract of a whole room",
    "kernel/linux.py: LinuxKernel": "has a method for each of the contract `Kernel`",
    "sandbox.py: SandboxOps": "is what a `Sandbox` needs, and what shows and explains it",
    "lifecycle/sandboxes.py: Sandboxes": "has a method for each of the port `SandboxOps`, and `create`",
    "testing/fake_kernel.py: FakeKernel": "has a method for each of the contract `Kernel`, and those that tests break things with",
}
"""What may be larger than the budget, and why."""


def _lines(found: list[str]) -> str:
    return "\n" + "\n".join(found)


def test_imports_point_down() -> None:
    """No module imports what stands above or beside it, or an implementation that is not its own to choose."""
    found = rules.breaches(MODULES, TOP)
    assert not found, _lines(found)


def test_only_the_kernel_room_speaks_netlink() -> None:
    """Nothing outside kernel/ imports pyroute2."""
    found = rules.netlink(MODULES)
    assert not found, _lines(found)


def test_no_cycles() -> None:
    """No module needs itself to be loaded."""
    found = rules.cycles(MODULES, TOP)
    assert not found, _lines(found)


def test_every_room_is_on_the_map() -> None:
    """The page on the architecture has each room of the import line, and no other."""
    page = (Path(__file__).parents[2] / "docs/architecture.md").read_text()
    drawn = page.partition("```text\n")[2].partition("```")[0]
    rooms = set().union(*rules.LAYERS) - {"__init__", "__main__"}
    assert set(re.findall(r"(?<![\w/])(\w+)(?:\.py|/)", drawn)) - {"api"} == rooms


def test_no_drawer_for_everything() -> None:
    """No module is named utils, common or helpers."""
    assert not rules.bad_names(MODULES)


def test_sizes() -> None:
    """Functions, files and classes stay within what one reads at a glance."""
    found = {
        re.sub(r"^.*libnetwork_py/(\S+?)(:\d+)?: (\w+) .*", r"\1: \3", each): each for each in rules.too_large(MODULES)
    }
    assert not found.keys() - EXCUSED.keys(), _lines([each for name, each in found.items() if name not in EXCUSED])
    assert not EXCUSED.keys() - found.keys(), "excused for nothing"


def test_docstrings() -> None:
    """Every module and public name has a docstring; every package says who does what in it and what it may import."""
    found = rules.undocumented(MODULES)
    assert not found, _lines(found)


OTHERS = (
    "asyncio", "attrs", "etcd3gw.client", "ipaddress", "json", "logging", "pyroute2.netlink.rtnl.ifinfmsg", "pytest", "requests", "sqlite3",
    "subprocess", "consul.std", "kazoo.client",
)  # fmt: skip


@pytest.mark.timeout(300)  # a process for each module, beside whatever else the machine does
def test_any_module_can_come_first() -> None:
    """Each module loads as the first of a fresh interpreter."""
    names = [".".join(filter(None, (TOP, module.name))) for module in MODULES if module.name != "__main__"]
    script = f"""
import contextlib, gc, os, sys
gc.disable()  # a third of the time
for other in {OTHERS!r}:  # once instead of in every child: it is our own modules' order that is in question
    with contextlib.suppress(ImportError):
        __import__(other)
for name in {names!r}:
    child = os.fork()
    if child == 0:
        try:
            __import__(name)
        except BaseException as error:
            print(f"{{name}}: {{type(error).__name__}}: {{error}}")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""
    assert _python(script) == ""


@pytest.mark.parametrize("statement", ["import libnetwork_py", "import libnetwork_py.errors, libnetwork_py.types"])
def test_importing_the_package_is_light(statement: str) -> None:
    """The package loads neither pyroute2 nor a driver before it is asked for something."""
    script = f"{statement}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    loaded = _python(script).split()
    heavy = ("pyroute2", f"{TOP}.drivers", f"{TOP}.kernel", f"{TOP}.store", f"{TOP}.show", "sqlite3", "asyncio")
    assert [name for name in loaded if name.startswith(heavy)] == []


def _python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=240, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# the rules have teeth

GOOD = '"""Good.\n\nDivision of labour: all here.\n\nMay import: all.\n"""\n'


def _tree(root: Path, files: Mapping[str, str]) -> list[rules.Module]:
    top = root / "house"
    for name, text in {"__init__.py": GOOD, **files}.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(top).parents[:-1]:
            init = top / folder / "__init__.py"
            if not init.exists():
                init.write_text(GOOD)
    return rules.read(top)


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("desired.py", "from .kernel.api import Kernel", "points up"),
        ("desired.py", "from . import controller", "points up"),
        ("desired.py", "import house.controller", "points up"),
        ("types.py", "from house.network import Network", "points up"),
        ("types.py", "def f():\n    from .network import Network", "points up"),
        (
            "types.py",
            "if True:\n    try:\n        from .facts import Facts\n    except ImportError:\n        pass",
            "points up",
        ),
        ("facts.py", "if TYPE_CHECKING:\n    from .network import Network", "points up"),
        ("sandbox.py", "from .endpoint import Endpoint", "points up"),
        ("kernel/linux.py", "from ..store.api import Store", "do not know each other"),
        ("kernel/deep/down.py", "from ...firewall import clauses", "do not know each other"),
        ("drivers/bridge/driver.py", "from ...kernel.api import Kernel", "drivers does not know kernel"),
        ("drivers/own.py", "from ..lifecycle import engine", "points up"),
        ("lifecycle/engine.py", "from ..kernel.linux import LinuxKernel", "choose implementations"),
        ("lifecycle/engine.py", "from .. import kernel", "choose implementations"),
        ("lifecycle/engine.py", "from ..store.sqlite import SqliteStore", "choose implementations"),
        ("controller.py", "from .testing import FakeKernel", "points up"),
        ("controller.py", "from .cli import main", "points up"),
        ("drawer.py", "from .types import X", "drawer stands nowhere"),
        ("kernel/linux.py", "from .. import Network", "stands nowhere"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, path: str, text: str, why: str) -> None:
    """An import that breaks the line is found wherever and however it is written, at its line."""
    found = rules.breaches(_tree(tmp_path, {path: f"{GOOD}{text}\n"}), "house")
    assert len(found) == 1, found
    assert why in found[0]
    assert Path(found[0].partition(":")[0]) == tmp_path / "house" / path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sandbox.py", "if TYPE_CHECKING:\n    from .network import Network"),
        ("lifecycle/engine.py", "from ..kernel.api import Kernel\nfrom ..store import codec"),
        ("controller.py", "def f():\n    from .kernel.linux import LinuxKernel"),
        ("testing/fake.py", "from ..kernel.transport import refused"),
        ("kernel/linux.py", "from . import api\nfrom .deep.down import x\nfrom ..desired import HOST"),
        ("drivers/own.py", "from ..firewall import elements"),
        ("__init__.py", "if TYPE_CHECKING:\n    from .controller import NetworkController"),
    ],
)
def test_a_right_import_is_not(tmp_path: Path, path: str, text: str) -> None:
    """What points down, stays in its room, or names a handle for the type checker is no breach."""
    assert rules.breaches(_tree(tmp_path, {path: f"{GOOD}{text}\n"}), "house") == []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.netlink, "store/x.py", "def f():\n    from pyroute2.netlink import nlmsg"),
        (rules.bad_names, "kernel/utils.py", ""),
        (rules.bad_names, "helpers/x.py", ""),
        (rules.too_large, "types.py", "\n" * rules.FILE_LINES),
        (rules.too_large, "types.py", "def f():\n" + "    x = 1\n" * (rules.FUNCTION_LINES + 1)),
        (rules.too_large, "types.py", "class A:\n    def _f(self):\n" + "        x = 1\n" * (rules.FUNCTION_LINES + 1)),
        (rules.too_large, "types.py", "class A:\n" + "".join(f"    def f{n}(self): ...\n" for n in range(21))),
        (rules.undocumented, "types.py", "def f():\n    return 1"),
        (rules.undocumented, "types.py", "class A:\n    x = 1"),
        (rules.undocumented, "types.py", 'class A:\n    """A."""\n    def f(self):\n        return 1'),
    ],
)
def test_other_faults_are_found(
    tmp_path: Path, rule: Callable[[list[rules.Module]], list[str]], path: str, text: str
) -> None:
    """A foreign codec, a bad name, an excess and a missing docstring are each found, once for each module concerned."""
    assert len(set(rule(_tree(tmp_path, {path: GOOD + text})))) in {1, 2}
    assert rule(_tree(tmp_path / "clean", {"types.py": GOOD})) == []


def test_a_package_says_who_does_what(tmp_path: Path) -> None:
    """A module without a docstring, and a package whose docstring lacks either phrase, are found."""
    found = rules.undocumented(
        _tree(tmp_path, {"kernel/__init__.py": '"""Kernel. May import: all."""', "types.py": ""})
    )
    assert [each.rpartition(": ")[2] for each in found] == [
        "its docstring does not say 'Division of labour'",
        "has no docstring",
    ]


@pytest.mark.parametrize(
    ("files", "circular"),
    [
        ({"a.py": "from .b import x", "b.py": "from .c import x", "c.py": "from . import a"}, ["a", "b", "c"]),
        ({"a.py": "from .b import x", "b.py": "def f():\n    from .a import x"}, []),
        ({"a.py": "from .b import x", "b.py": "if TYPE_CHECKING:\n    from .a import x"}, []),
        ({"r/__init__.py": "from .a import x", "r/a.py": "from . import b", "r/b.py": ""}, []),
    ],
)
def test_a_cycle_is_found(tmp_path: Path, files: Mapping[str, str], circular: list[str]) -> None:
    """Modules that need each other to load are found; lazy imports and those for the type checker make no cycle."""
    found = rules.cycles(_tree(tmp_path, files), "house")
    assert [each.partition(":")[0] for each in found] == circular

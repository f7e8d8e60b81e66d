"""What is installed: the distribution's metadata and files."""

from __future__ import annotations

import os
from importlib.metadata import distribution, entry_points
from importlib.resources import files
from pathlib import Path

import pytest

import libnetwork_py
from libnetwork_py.plugins.registry import Registry

GROUPS = {
    "libnetwork_py.drivers": {"bridge", "host", "null", "overlay"},
    "libnetwork_py.ipam": {"default", "null"},
    "libnetwork_py.stores": {"consul", "etcd", "memory", "zookeeper"},
}


def test_nothing_but_three_packages_is_required() -> None:
    """Without an extra, the distribution needs attrs, pyroute2 and typing-extensions, and nothing else."""
    required = [each for each in distribution("libnetwork_py").requires or () if "extra ==" not in each]
    assert sorted(each.split(">")[0] for each in required) == ["attrs", "pyroute2", "typing-extensions"]


def test_the_version_is_said_once() -> None:
    """The package and its distribution have the same version."""
    assert distribution("libnetwork_py").version == libnetwork_py.__version__


def test_type_checkers_are_told() -> None:
    """The package carries ``py.typed``."""
    assert files(libnetwork_py).joinpath("py.typed").is_file()


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_built_ins_are_entry_points_that_load(group: str) -> None:
    """The built-ins are registered as a stranger's plug-ins are, and each can be loaded."""
    ours = [
        each for each in entry_points(group=group) if each.dist and each.dist.name == distribution("libnetwork_py").name
    ]
    assert {each.name for each in ours} == GROUPS[group]
    assert all(callable(each.load()) for each in ours)


def test_what_is_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package installed while the program runs is found by the next registry, and so by the next controller."""
    monkeypatch.syspath_prepend(tmp_path)
    for number in (1, 2):
        info = tmp_path / f"extra{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: extra{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tests.later]\nplug{number} = builtins:object\n")
        os.utime(tmp_path, ns=(number, number))  # two changes within a tick of the file system's clock
        assert len(Registry("tests.later", "thing", object).names()) == number

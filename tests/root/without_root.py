"""Which root tests an ordinary user does not run, each with its reason.

All others run a second time, by an ordinary user, with ``make test``; ``LIBNETWORK_PY_AS_USER=0`` leaves that out.

A key is the beginning of a test's name below ``tests/root/``.
"""

from __future__ import annotations

from collections.abc import Mapping

_KERNEL = (
    "looks at the kernel layer of root, by names below the machine's /run/netns; test_230 looks at the one without root"
)
_SWEEP = "a sweep over the engine, which is the same without root; it takes minutes"
_MACHINE = "changes the machine's own network or settings, as root"
_ENTERED = "`entered` is not to be had without root: test_230 says what is raised"
_NETNS = "/etc/netns and /run/netns of the machine are root's; test_230 finds names and files where a user has them"

_LAST_PID = "choosing a process's number takes CAP_CHECKPOINT_RESTORE over the machine's process numbers"
_BUFFER = "counts packets in a larger socket buffer than anybody but the machine's root may have (SO_RCVBUFFORCE)"
_HOSTS_FILE = "the host's resolv.conf would be in /etc/netns, which is root's"

EXCLUDED: Mapping[str, str] = {
    "test_100_namespaces.py": _KERNEL,
    "test_200_processes.py::test_options_are_those_of_popen[id -u; id -g-options3": "a user namespace has one user: the caller",
    "test_410_bad_input.py::test_no_privilege": "drops root's privilege; test_230 has none to drop",
    "test_420_sandboxes.py::test_a_later_process_of_the_same_number": _LAST_PID,
    "test_440_inside.py::test_ip_netns_exec_sees_the_same_files": _NETNS,
    "test_440_inside.py::test_a_file_that_somebody_changed_is_left_alone": _NETNS,
    "test_440_inside.py::test_the_caller_stays_where_it_is": _ENTERED,
    "test_440_inside.py::test_call_and_entered": _ENTERED,
    "test_440_inside.py::test_entered_moves_one_thread_only": _ENTERED,
    "test_440_inside.py::test_sockets": _ENTERED,
    "test_480_budget.py": "counts system calls of root's opener; benchmarks/bench_without_root.py measures the other",
    "test_516_neighbours.py::test_beside_ufw": "ufw works on the machine's own settings, which only root can read",
    "test_516_neighbours.py::test_beside_dockerd": "dockerd needs root",
    "test_530_size.py": "the sizes are the kernel's, the same without root; it takes a minute",
    "test_545_overlay_hosts.py::test_what_a_dead_temporary_controller_had": "without root nothing is left for the next: test_230",
    "test_549_overlay_partitions.py": "the store is cut off from a host; without root it is reached from where the caller is",
    "test_580_names.py::test_ip_netns_exec": _NETNS,
    "test_580_names.py::test_servers_of_the_host": _HOSTS_FILE,
    "test_585_names_bounds.py::test_a_file_of_the_host_that_cannot_be_read": _HOSTS_FILE,
    "test_600_batch_plan.py::test_the_text_of_a_plan_can_be_run": "runs `ip netns add` as root of the machine",
    "test_630_conditions.py::test_a_random_loss": _BUFFER,
    "test_630_conditions.py::test_a_seeded_loss": _BUFFER,
    "test_710_temporary.py::test_after_sigkill[start]": "without root nothing is left for the next start: test_230",
    "test_820_kill_sweep.py": _SWEEP,
    "test_825_overlay_kill_sweep.py": _SWEEP,
    "test_830_interrupts_and_faults.py": _SWEEP,
    "test_850_walk.py": _SWEEP,
    "test_900_examples.py::test_example_runs_and_says_what_it_promises[adopt_namespace.py]": "makes a namespace outside of the library",
}


def why_not(nodeid: str) -> str:
    """Return why an ordinary user does not run a test; empty if one does."""
    name = nodeid.removeprefix("tests/root/")
    return next((reason for key, reason in EXCLUDED.items() if name.startswith(key)), "")

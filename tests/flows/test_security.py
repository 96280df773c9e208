"""What the local default listens on: this machine, and nothing that a network reaches."""

import io
import ipaddress
import socket

import psutil
from rich.console import Console

from sweetgrad.flows.cluster import WorkerSource, open_client
from sweetgrad.flows.server import ephemeral as server


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which a process and its children accept connections."""
    found = set()
    for each in [process, *process.children(recursive=True)]:
        for connection in each.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM:
                found.add(connection.laddr.ip)
    return found


def outside(addresses: set[str]) -> set[str]:
    return {address for address in addresses if not ipaddress.ip_address(address).is_loopback}


def test_listening__sees_a_socket_that_is_open_to_the_network():
    with socket.create_server(("0.0.0.0", 0)):
        assert "0.0.0.0" in outside(listening(psutil.Process()))


def test_prefect_server__listens_on_loopback_only(prefect_api):
    process = server._running[prefect_api].process
    addresses = listening(psutil.Process(process.pid))
    assert addresses == {"127.0.0.1"}


def test_local_cluster__listens_on_loopback_only(tmp_path):
    before = listening(psutil.Process())
    where = {"store": tmp_path, "device": "cpu", "num_shards": 1}
    with open_client(WorkerSource(1), **where, console=Console(file=io.StringIO())) as client:
        client.wait_for_workers(1, timeout=120)
        nanny = psutil.Process().children(recursive=True)
        addresses = listening(psutil.Process())
        assert any(listening(process) for process in nanny)  # workers accept connections from each other
    assert not outside(addresses - before)

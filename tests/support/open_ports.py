"""Which addresses and ports a process listens at, as the kernel tells it; Linux only."""

import socket
from pathlib import Path


def tcp_sockets():
    """Return {inode: (address, port)} of all listening TCP sockets of this network namespace."""
    found = {}
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A":
                continue
            address, port = fields[1].split(":")
            raw = bytes.fromhex(address)
            raw = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
            found[fields[9]] = socket.inet_ntop(family, raw), int(port, 16)
    return found


def family_of(process):
    """Return a process and all that it has started."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    family, rest = [], [process]
    while rest:
        family.append(rest.pop())
        rest += children.get(family[-1], [])
    return family


def listening(process):
    """Return the addresses and ports at which a process or one that it has started listens."""
    sockets, found = tcp_sockets(), set()
    for member in family_of(process):
        for descriptor in Path(f"/proc/{member}/fd").glob("*"):
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(sockets.get(target[8:-1]))
    return found - {None}

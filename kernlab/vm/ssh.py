"""A door for ssh and scp into a running guest: 127.0.0.1 alone, keys that live with the run."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.needs import require
from kernlab.errors import BadInput, WeFailed
from kernlab.process import run as command
from kernlab.vm.machine import Machine
from kernlab.vm.needs import SSH

CONFIG = "ssh_config"
_LIMIT = 60.0  # a key and a daemon, under TCG
_START = """set -e
mkdir -p -m 700 /root/.ssh /run/sshd
[ -f /etc/ssh/ssh_host_ed25519_key ] ||
    ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -o HostKey=/etc/ssh/ssh_host_ed25519_key -o UsePAM=no
"""


def require_ssh() -> None:
    """Raise ``HostLacks`` where the host has no ssh of its own."""
    require([SSH])


def open_door(machine: Machine, directory: Path) -> str:
    """Let this user in as the guest's root; the words to type. ``directory`` gets the
    keys and ``ssh_config``, in which the guest is called kernlab.

    Raises ``BadInput`` for a guest without sshd, ``WeFailed``, ``MachineFailed``.
    """
    channel = machine.channel
    if channel.run(_LIMIT, ["sh", "-c", "[ -x /usr/sbin/sshd ]"]).returncode:
        raise BadInput("--ssh: this image has no sshd", "", "--image debian")
    key = directory / "ssh_key"
    command(_LIMIT, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    said = channel.run(_LIMIT, ["sh", "-c", _START])
    if said.returncode:
        raise WeFailed(
            "the guest's sshd did not start",
            (said.stdout + said.stderr).decode("utf-8", "replace").strip(),
            "without --ssh",
        )
    channel.write_file("/root/.ssh/authorized_keys", key.with_suffix(".pub").read_bytes())
    host_key = channel.read_file("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()[:2]
    (directory / "known_hosts").write_text(f"kernlab {' '.join(host_key)}\n", "utf-8")
    config = directory / CONFIG
    config.write_text(
        f"Host kernlab\n  HostName 127.0.0.1\n  Port {machine.forward(22)}\n  User root\n"
        f"  HostKeyAlias kernlab\n  IdentitiesOnly yes\n"
        f'  IdentityFile "{key}"\n  UserKnownHostsFile "{directory / "known_hosts"}"\n',
        "utf-8",
    )
    return f"ssh -F {config} kernlab"

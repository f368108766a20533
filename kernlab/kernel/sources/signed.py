"""A clear-signed text, believed only when the one expected key has signed it.

Trust hangs on a fingerprint from configs/kernels.yaml. The key itself is looked for as
``configs/keys/<fingerprint>.asc`` or ``.gpg``, the user's own first; where it came from
does not matter, since gpgv reports the fingerprint of the key that verified. Only what
gpgv gives back as signed is used: text around the signed part would pass a mere check.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import tempfile
from pathlib import Path

from kernlab.config.needs import require
from kernlab.config.paths import config_file, home
from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.kernel.needs import KERNEL_ORG
from kernlab.process import run

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*?\r?\n"
    rb"(?P<body>[A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\r?\n-----END PGP",
)
_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"


def is_signed(data: bytes) -> bool:
    """Whether ``data`` claims to be signed (an error page of a network in between does not)."""
    return _BEGIN in data


def key(fingerprint: str) -> bytes:
    """The key in binary form, as gpgv wants it. Raises ``HostLacks`` when it is nowhere."""
    for ending in ("asc", "gpg"):
        path = config_file("keys", f"{fingerprint}.{ending}")
        if path.is_file():
            return dearmour(path.read_bytes(), str(path))
    own = home() / "configs" / "keys" / f"{fingerprint}.gpg"
    raise HostLacks(
        f"the key {fingerprint} is missing",
        "configs/kernels.yaml names it; without it no signature can be checked",
        f"gpg --export {fingerprint} > {own}",
    )


def dearmour(data: bytes, name: str) -> bytes:
    """Binary keys as they are, armoured ones decoded. Raises ``BadInput`` naming the file."""
    if b"-----BEGIN" not in data:
        return data
    match = _ARMOUR.search(data)
    try:
        if match is None:
            raise ValueError("no PGP public key block")
        return base64.b64decode(b"".join(match["body"].split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadInput(f"{name} contains no usable key", str(error), f"edit {name}") from error


def text(data: bytes, fingerprint: str, name: str) -> str:
    """The signed part of ``data``, when the key ``fingerprint`` has signed it.

    Raises ``WeFailed`` saying which check failed (``name`` stands for the file), and
    ``HostLacks`` without gpgv or the key.
    """
    require(KERNEL_ORG)
    with tempfile.TemporaryDirectory(prefix="kernlab-gpgv-") as scratch:
        ring, signed, clear = (Path(scratch, part) for part in ("key.gpg", "signed", "clear"))
        ring.write_bytes(key(fingerprint))
        signed.write_bytes(data)
        said = run(
            60,
            [
                "gpgv",
                "--homedir",
                scratch,
                "--keyring",
                str(ring),
                "--status-fd",
                "1",
                "--output",
                str(clear),
                str(signed),
            ],
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
        lines = [line.split() for line in said.text.splitlines()]
        status = [words[1:] for words in lines if words[:1] == ["[GNUPG:]"]]
        problem = _problem(status, said.returncode, fingerprint)
        if problem:
            raise WeFailed(
                f"{name} cannot be trusted: the signature check failed",
                f"{problem}\n{said.stderr.decode('utf-8', 'replace').strip()[-800:]}",
                "edit configs/kernels.yaml: another mirror under kernel_org",
            )
        return clear.read_text("utf-8", "replace")


def _problem(status: list[list[str]], returncode: int, fingerprint: str) -> str:
    """What gpgv's status lines (doc/DETAILS of GnuPG) have against a file; "" for nothing."""
    words = {line[0]: line[1:] for line in status if line}
    if "BADSIG" in words:
        return "the text was altered after it was signed"
    for word, why in (("EXPKEYSIG", "has expired"), ("REVKEYSIG", "is revoked")):
        if word in words:
            return f"the key that signed it {why}"
    if "NO_PUBKEY" in words:
        return f"it is signed by the key {words['NO_PUBKEY'][0]}, and not by {fingerprint}"
    # VALIDSIG's last field is the fingerprint of the primary key.
    by = words["VALIDSIG"][-1] if "VALIDSIG" in words else ""
    if by and by != fingerprint:
        return f"it is signed by the key {by}, and not by {fingerprint}"
    if not by or returncode != 0 or "GOODSIG" not in words:
        return "it has no valid signature"
    return ""

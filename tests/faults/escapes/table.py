"""What becomes of each probe, by what shuts the notebook in; `docs/security.md` has the same table.

`walls`: as on every Linux on x86-64 with Landlock 6 (Linux 6.12) and no further setting. `none`: with
CASHUP_SANDBOX=off, or where the system has no such walls. Both run under the gateway's own user.
"""

from __future__ import annotations

REFUSED, DONE = "refused", "done"

FILES = (
    "read the vault's key file",
    "read the key that signs tokens",
    "read the saved login, or a pod's token file",
    "read the database's files",
    "open the database's shared memory",
    "read another deployment's notebook records and logs",
    "write to the versions folder",
    "change its own notebook",
    "change the library that the gateway runs",
    "put a symlink in the path of its record",
    "read a key by a symlink in its own folder",
    "change the mode of a key file",
    "read the system's password file",
    "do all this from a shell (`!`)",
)
PROCESSES = (
    "read the gateway's environment",
    "read the gateway's memory by /proc",
    "read the gateway's memory by a system call",
    "trace the gateway (ptrace)",
    "use the gateway's open files",
    "send the gateway a signal",
    "end its supervisor or its worker process",
    "kill a sibling's kernel",
    "find a sibling's kernel and its sockets",
)
SOCKETS = (
    "connect to PostgreSQL by its unix socket",
    "connect to Redis by its unix socket",
    "connect to a database by TCP",
    "connect to an exchange or a metadata service",
    "listen for connections",
    "send a datagram",
    "open a raw socket",
)
RIGHTS = (
    "become root of a namespace of its own",
    "let the kernel act for it (io_uring)",
    "share memory with the database (System V)",
    "keep a right of root",
)
GATEWAY = (
    "find credentials in its environment",
    "read another deployment by the API",
    "read everything there is by the API",
    "administer by the API",
    "begin an attempt, or get a supervisor's token",
    "show a token with another deployment's name in it",
    "cancel another deployment's order by its socket",
    "follow another deployment's events by its socket",
)
LIMITS = (
    "open 10,000 files",
    "write a file of 10 GB",
    "use 2 GB of memory",
)
AS_ITS_USER_MAY = ("raise a limit again",)
"""Without walls root may; any other user may not."""

OWN = ("send an intent in another deployment's name",)
"""Is done, for the deployment that the token is for: what a frame says of names counts for nothing."""

WALLS = {
    **dict.fromkeys((*FILES, *PROCESSES, *SOCKETS, *RIGHTS, *GATEWAY, *LIMITS, *AS_ITS_USER_MAY), REFUSED),
    **dict.fromkeys(OWN, DONE),
}
NONE = {
    **dict.fromkeys((*FILES, *PROCESSES, *SOCKETS, *RIGHTS, *OWN), DONE),
    **dict.fromkeys((*GATEWAY, *LIMITS), REFUSED),
}

"""A filter of system calls: what no strategy needs, and what would lead around Landlock.

Above all sockets with a name in a folder: by those an embedded database, and the processes that fork kernels, can be
spoken to, and no version of Landlock that is in use yet says no.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

_SET_MODE_FILTER, _TSYNC = 1, 1
_SECCOMP = 317
_PR_SET_NO_NEW_PRIVS = 38
_ARCHITECTURE = 0xC000003E
_X32 = 0x40000000
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24
"""Where the number of a call, the architecture and the low halves of two arguments lie in what a filter is shown."""

_SOCKET, _CLONE, _CLONE3 = 41, 56, 435
_NEW_NAMESPACES = 0x7E020080

DENIED = {
    # other processes: their memory, descriptors and traces
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "perf_event_open": 298,
    # memory and queues that are shared by number: a database keeps some there
    "shmget": 29,
    "shmat": 30,
    "shmctl": 31,
    "semget": 64,
    "semop": 65,
    "semctl": 66,
    "msgget": 68,
    "msgsnd": 69,
    "msgrcv": 70,
    "msgctl": 71,
    "mq_open": 240,
    # the mode and owner of files by name, which Landlock does not see
    "chmod": 90,
    "fchmodat": 268,
    "fchmodat2": 452,
    "chown": 92,
    "lchown": 94,
    "fchownat": 260,
    "setxattr": 188,
    "lsetxattr": 189,
    "mknod": 133,
    "mknodat": 259,
    # another view of the machine
    "unshare": 272,
    "setns": 308,
    "chroot": 161,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    # calls that are made for one by the kernel itself
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    # the machine: its kernel, clock, keys and disks
    "bpf": 321,
    "userfaultfd": 323,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "kexec_load": 246,
    "reboot": 169,
    "swapon": 167,
    "swapoff": 168,
    "acct": 163,
    "quotactl": 179,
    "settimeofday": 164,
    "clock_settime": 227,
    "adjtimex": 159,
    "clock_adjtime": 305,
}
"""Calls that are answered with EPERM, by their number on x86-64."""


def available() -> bool:
    """True where the numbers above are right."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and struct.calcsize("P") == 8


def restrict(*, datagrams: bool) -> bool:
    """Forbid the calls above, new namespaces, and every new socket but TCP, with `datagrams` also UDP (for names).

    For all threads of this process and all that it starts. False where this machine is not one that it is written for.
    Raises OSError when the system refuses.
    """
    if not available():
        return False
    program = b"".join(_program(datagrams))
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        _SECCOMP, _SET_MODE_FILTER, _TSYNC, ctypes.byref(given)
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
    return True


def _program(datagrams: bool) -> list[bytes]:
    deny = _word(_RETURN, _ERRNO | errno.EPERM)
    types = [socket.SOCK_STREAM, *([socket.SOCK_DGRAM] if datagrams else [])]
    return [
        _word(_LOAD, _ARCH),
        _word(_EQUAL, _ARCHITECTURE, 1, 0),
        _word(_RETURN, _KILL),
        _word(_LOAD, _NUMBER),
        _word(_AT_LEAST, _X32, 0, 1),
        deny,
        *(word for number in sorted(DENIED.values()) for word in (_word(_EQUAL, number, 0, 1), deny)),
        # The C library does without it when it is not there, and its arguments cannot be looked at.
        _word(_EQUAL, _CLONE3, 0, 1),
        _word(_RETURN, _ERRNO | errno.ENOSYS),
        _word(_EQUAL, _CLONE, 0, 4),
        _word(_LOAD, _FIRST),
        _word(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        deny,
        _word(_RETURN, _ALLOW),
        _word(_EQUAL, _SOCKET, 1, 0),
        _word(_RETURN, _ALLOW),
        _word(_LOAD, _FIRST),
        _word(_EQUAL, socket.AF_INET, 2, 0),
        _word(_EQUAL, socket.AF_INET6, 1, 0),
        deny,
        _word(_LOAD, _SECOND),
        _word(_AND, 0xF),
        *(word for kind in types for word in (_word(_EQUAL, kind, 0, 1), _word(_RETURN, _ALLOW))),
        deny,
    ]


def _word(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)

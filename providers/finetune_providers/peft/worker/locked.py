"""Lock this process in before somebody else's code runs in it. Linux on x86-64 and arm64; standard library only.

It gives up: the network and every other socket, more than a little memory and time, writing files, reading any but
Python's own (Landlock: Linux 5.13 and later), starting processes and threads, and the rights to get any of it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_MEMORY_BYTES = 2 << 30
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7
_FORBIDDEN = {
    _X86_64: (
        41, 42, 43, 44, 46, 49, 50, 53, 56, 57, 58, 59, 62, 76, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 101,
        133, 200, 234, 258, 259, 260, 263, 264, 265, 266, 268, 288, 310, 311, 316, 321, 322, 425, 435, 437, 452,
    ),
    _AARCH64: (
        33, 34, 35, 36, 37, 38, 45, 52, 53, 54, 55, 117, 129, 130, 131, 198, 199, 200, 201, 202, 203, 206, 211, 220,
        221, 242, 270, 271, 276, 280, 281, 425, 435, 437, 452,
    ),
}  # fmt: skip
"""socket and its kin, clone, fork, vfork, execve, execveat, kill, ptrace, tkill, tgkill, process_vm_*, bpf, io_uring,
whatever makes, removes, renames or changes a file; numbers from the kernel's tables of the two machines."""
_OPENING = {_X86_64: ((2, 24), (257, 32)), _AARCH64: ((56, 32),)}
"""open and openat, and where in the call's description their flags stand."""
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
"""The same on both machines."""
_EVERY_RIGHT, _READ_FILE, _READ_FOLDER = 0x1FFF, 0x4, 0x8
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/dev/null")
"""What importing a library may read beside Python's own folders: nothing of it is a secret."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def restrict(seconds: int) -> None:
    """From here on: no network, no processes, no files, little memory, so much processor time and twice that in all."""
    signal.setitimer(signal.ITIMER_REAL, 2 * seconds)
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):
        libc.unshare(0x40000000)  # a network of its own, with nobody in it; needs rights, the filter below does not
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SystemExit("graders cannot be locked in on this machine")
    _hide_files(libc)
    if not _filter_calls(libc):
        raise SystemExit("graders cannot be locked in on this machine")


def _hide_files(libc: ctypes.CDLL) -> None:
    """Only what Python itself needs can be opened from here on. A kernel without Landlock hides nothing."""
    handled = struct.pack("=Q", _EVERY_RIGHT)
    rules: int = libc.syscall(_LANDLOCK_CREATE, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        return
    for place in _readable():
        rights = _READ_FILE | (_READ_FOLDER if place.is_dir() else 0)
        door = os.open(place, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, door), 0)
        os.close(door)
    if libc.syscall(_LANDLOCK_RESTRICT, rules, 0) != 0:
        raise SystemExit("graders cannot be locked in on this machine")
    os.close(rules)


def _readable() -> Iterator[Path]:
    """Python's own folders and the system's libraries; not what somebody else has put on the path."""
    own = tuple(Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix))
    found = (Path(text).resolve() for text in sys.path if text)
    yield from (place for place in found if place.exists() and any(place.is_relative_to(prefix) for prefix in own))
    yield from (place for place in map(Path, _SYSTEM) if place.exists())


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """A seccomp filter that answers EPERM to every forbidden call. False = this machine has none."""
    machine = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(os.uname().machine)
    if machine is None:
        return False
    code = _program(machine)
    packed = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    program = Program(len(code), ctypes.cast(buffer, ctypes.c_void_p))
    done: int = libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)
    return done == 0


def _program(machine: int) -> list[tuple[int, int, int, int]]:
    """The filter's instructions: (operation, how far to jump when true, when false, operand)."""
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000
    opening, forbidden = _OPENING[machine], _FORBIDDEN[machine]
    left = 4 * len(opening) + len(forbidden)  # instructions between here and the answers
    code = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, kill), (load, 0, 0, 0)]
    code.append((at_least, left + 1, 0, 0x40000000))  # x32's numbers are other ways to the same calls
    for number, place in opening:
        left -= 4
        code += [(equal, 0, 3, number), (load, 0, 0, place), (any_bit, left + 2, 0, _WRITING), (answer, 0, 0, allow)]
    for number in forbidden:
        left -= 1
        code.append((equal, left + 1, 0, number))
    return [*code, (answer, 0, 0, allow), (answer, 0, 0, refuse)]

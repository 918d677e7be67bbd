"""Failures of memory for a program under test, by the library $SIGBUS_PRELOAD (tests/lib/sigbus-preload.c)."""
import ctypes
import os

PRELOAD = os.environ["SIGBUS_PRELOAD"]


class SigInfo(ctypes.Structure):
    _fields_ = [("si_signo", ctypes.c_int), ("si_errno", ctypes.c_int), ("si_code", ctypes.c_int),
                ("pad", ctypes.c_int), ("pid", ctypes.c_int), ("uid", ctypes.c_uint),
                ("value", ctypes.c_void_p), ("rest", ctypes.c_char * 96)]


def send(pid, tid, number, value):
    """A signal with a value to one thread."""
    info = SigInfo(number, 0, -1, 0, os.getpid(), os.getuid(), value)
    if ctypes.CDLL(None, use_errno=True).syscall(297, pid, tid, number, ctypes.byref(info)):
        raise OSError(ctypes.get_errno(), "rt_tgsigqueueinfo")


def environment(broken=False):
    """What the program under test needs in its environment: broken makes lost pages look like broken ones."""
    return {"LD_PRELOAD": PRELOAD, "ASAN_OPTIONS": "verify_asan_link_order=0",
            **({"SIGBUS_AS_BROKEN": "1"} if broken else {})}

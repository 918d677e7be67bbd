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


def preloaded(start, broken=False):
    """What start() returns, called with the library in the environment."""
    os.environ["LD_PRELOAD"] = PRELOAD
    os.environ["ASAN_OPTIONS"] = "verify_asan_link_order=0"
    if broken:
        os.environ["SIGBUS_AS_BROKEN"] = "1"
    try:
        return start()
    finally:
        for name in "LD_PRELOAD", "ASAN_OPTIONS", "SIGBUS_AS_BROKEN":
            os.environ.pop(name, None)

"""Answers questions to libselinux's selabel_lookup_raw().

Records of standard input end in NUL: "F" and the path of a file_contexts opens
another database; "Q", a mode in octal, a tab and a path asks it. For each there
is a record of output: "ok" or "refused", and the context, "<<none>>" for none,
or "error".
"""
import ctypes
import errno
import sys

SELABEL_CTX_FILE, SELABEL_OPT_PATH = 0, 3


class Option(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("value", ctypes.c_char_p)]


try:
    lib = ctypes.CDLL(sys.argv[1], use_errno=True)
except OSError as e:
    sys.exit(f"missing: {e}")
lib.selabel_open.restype = ctypes.c_void_p
lib.selabel_open.argtypes = [ctypes.c_uint, ctypes.POINTER(Option), ctypes.c_uint]
lib.selabel_close.argtypes = [ctypes.c_void_p]
lib.selabel_lookup_raw.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_char_p, ctypes.c_int]

handle, out = None, []
for record in sys.stdin.buffer.read().split(b"\0")[:-1]:
    if record[:1] == b"F":
        if handle:
            lib.selabel_close(handle)
        option = Option(SELABEL_OPT_PATH, record[1:])
        handle = lib.selabel_open(SELABEL_CTX_FILE, ctypes.byref(option), 1)
        out.append(b"ok" if handle else b"refused")
        continue
    mode, path = record[1:].split(b"\t", 1)
    context = ctypes.c_char_p()
    ctypes.set_errno(0)
    if lib.selabel_lookup_raw(handle, ctypes.byref(context), path, int(mode, 8)) == 0:
        out.append(context.value)
        lib.freecon(context)
    else:
        out.append(b"<<none>>" if ctypes.get_errno() == errno.ENOENT else b"error")
sys.stdout.buffer.write(b"".join(answer + b"\0" for answer in out))

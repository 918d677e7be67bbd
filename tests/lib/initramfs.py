"""Linux guests for tests: Debian's kernel and a busybox initramfs, with modules and files of a test's own.

Needs a kernel (scripts/get-kernel) and busybox-static; without them Missing is raised with the reason.
"""
import os
import re
import shutil
import subprocess
import tempfile

SCRIPTS = os.environ["SCRIPTS"]
PROMPT = rb"godwit# "
BOOT_S = 120


class Missing(Exception):
    pass


def script(name, *args):
    result = subprocess.run([os.path.join(SCRIPTS, name), *args], capture_output=True, text=True)
    if result.returncode:
        raise Missing(f"{name}: {result.stderr.strip()}")
    return result.stdout.strip()


class Kernel:
    """Debian's kernel, `cloud` or `generic`: its image, its modules."""

    def __init__(self, kind="cloud"):
        self.dir = script("get-kernel", kind)
        boot = os.path.join(self.dir, "boot")
        images = sorted(f for f in os.listdir(boot) if f.startswith("vmlinuz-"))
        self.image = os.path.join(boot, images[-1])
        self.release = images[-1][len("vmlinuz-"):]
        self.modules = {}
        for folder, _, files in os.walk(os.path.join(self.dir, "lib/modules", self.release)):
            for name in files:
                if name.endswith(".ko"):
                    self.modules[name[:-3].replace("-", "_")] = os.path.join(folder, name)

    def with_dependencies(self, names):
        """Files of these modules and all that they need, in the order to load them; those that the kernel
        has built in are left out."""
        order = []

        def add(name):
            path = self.modules.get(name.replace("-", "_"))
            if path is None or path in order:
                return
            with open(path, "rb") as f:
                depends = re.search(rb"\0depends=([^\0]*)\0", f.read())
            for other in (depends.group(1).decode().split(",") if depends else []):
                add(other)
            order.append(path)

        for name in names:
            add(name)
        return order


def make(folder, kernel, modules=(), files=None, rc=""):
    """An initramfs whose shell comes up after `rc`; `modules` lie in /lib/modules, and `load NAME...` loads
    them with what they need; `files`: path in the guest to path here."""
    os.makedirs(folder, exist_ok=True)
    base, extra = os.path.join(folder, "base.gz"), os.path.join(folder, "extra.gz")
    out = os.path.join(folder, "initramfs.gz")
    paths = kernel.with_dependencies(modules)
    with tempfile.TemporaryDirectory() as tree:
        os.makedirs(os.path.join(tree, "lib/modules"))
        os.makedirs(os.path.join(tree, "bin"))
        os.makedirs(os.path.join(tree, "etc"))
        for path in paths:
            shutil.copy(path, os.path.join(tree, "lib/modules"))
        for to, source in (files or {}).items():
            to = os.path.join(tree, to.lstrip("/"))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(source, to)
        load = os.path.join(tree, "bin/load")
        with open(load, "w") as f:
            f.write("#!/bin/sh\nfor m in %s; do case \" $* \" in *\" ${m%%%%:*} \"*) insmod "
                    "/lib/modules/${m#*:} ${OPTIONS-} 2>/dev/null;; esac; done\n" %
                    " ".join(f"{want}:{os.path.basename(path)}" for want in modules
                             for path in kernel.with_dependencies([want])))
        os.chmod(load, 0o755)
        with open(os.path.join(tree, "etc/rc.extra"), "w") as f:
            f.write("stty -F /dev/ttyS0 cols 250\n" + rc)  # or the echo of a long command is broken
        script("make-initramfs", base, kernel.dir)
        subprocess.run("find . | LC_ALL=C sort | busybox cpio -o -H newc 2>/dev/null | gzip -n -1 >"
                       + extra, shell=True, cwd=tree, check=True)
    with open(out, "wb") as f:  # the kernel unpacks one after the other
        for part in base, extra:
            with open(part, "rb") as g:
                f.write(g.read())
    return out


class Shell:
    """For a test's class: talks to the guest's shell."""

    def shell(self, m, timeout=BOOT_S):
        m.expect(PROMPT, timeout)

    def command(self, m, text, timeout=120):
        """What a command printed in the guest's shell."""
        m.send(text + "\n")
        m.expect(re.escape(text) + "\r\n", timeout)
        start = m.at
        match = m.expect(PROMPT, timeout)
        return m.output[start:match.start()].decode(errors="replace").replace("\r", "")

"""A Linux guest with its own virtio_net, for tests of networks: what its shell needs for that."""
import os
import re

import initramfs
from godwit import Machine

UDHCPC = """#!/bin/sh
case $1 in
bound|renew)
    ip addr flush dev $interface scope global
    ip addr add $ip/$mask dev $interface
    [ -z "$router" ] || ip route add default via $router
    : >/etc/resolv.conf
    [ -z "$domain" ] || echo "search $domain" >>/etc/resolv.conf
    for i in $dns; do echo "nameserver $i" >>/etc/resolv.conf; done ;;
esac
"""
# for nc -e: reads what comes and answers with how much it was, or its MD5
COUNT = "#!/bin/sh\nwc -c\n"
DIGEST = "#!/bin/sh\nmd5sum\n"


def make(folder, kernel):
    os.makedirs(folder, exist_ok=True)
    files = {}
    for name, text in (("udhcpc.script", UDHCPC), ("count", COUNT), ("digest", DIGEST)):
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)
        files["/etc/" + name] = path
    return initramfs.make(folder, kernel, modules=["virtio_pci", "virtio_net"], files=files,
                          rc="load virtio_pci virtio_net\nip link set lo up\n")


class Guest(initramfs.Shell):
    """For a test's class, whose `kernel` and `initrd` are set."""

    def boot(self, *args, **kwargs):
        m = Machine("-m", "256", "-kernel", self.kernel.image, "-initrd", self.initrd, "-append",
                    "console=ttyS0 quiet", *args, **kwargs)
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def dhcp(self, m):
        """The address that the guest got."""
        self.command(m, "ip link set eth0 up")
        out = self.command(m, "udhcpc -i eth0 -n -q -t 20 -T 1 -s /etc/udhcpc.script 2>&1", 120)
        match = re.search(r"lease of ([0-9.]+) obtained", out)
        assert match, out
        return match.group(1)

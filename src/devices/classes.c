/* The table of all device classes, in the order of -device help. */
#include "devices/acpi-cpuhp.h"
#include "devices/acpi-pcihp.h"
#include "devices/acpi-pm.h"
#include "devices/core/device.h"
#include "devices/display/pci-display.h"
#include "devices/fw-cfg.h"
#include "devices/hpet.h"
#include "devices/ide/ahci.h"
#include "devices/ide/ata.h"
#include "devices/ide/piix-ide.h"
#include "devices/ioapic.h"
#include "devices/isa/debug-exit.h"
#include "devices/isa/debugcon.h"
#include "devices/isa/ferr.h"
#include "devices/isa/i8042.h"
#include "devices/isa/i8254.h"
#include "devices/isa/i8259.h"
#include "devices/isa/ib700.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/port92.h"
#include "devices/isa/pvpanic.h"
#include "devices/isa/serial.h"
#include "devices/isa/stall.h"
#include "devices/isa/testdev.h"
#include "devices/memory-slots.h"
#include "devices/pci/bridge.h"
#include "devices/pci/i440fx.h"
#include "devices/pci/i6300esb.h"
#include "devices/pci/ich9-lpc.h"
#include "devices/pci/ich9-smb.h"
#include "devices/pci/pvpanic-pci.h"
#include "devices/pci/q35-host.h"
#include "devices/pflash.h"
#include "devices/virtio/vhost-vsock.h"
#include "devices/virtio/virtio-balloon.h"
#include "devices/virtio/virtio-blk.h"
#include "devices/virtio/virtio-mem.h"
#include "devices/virtio/virtio-net.h"
#include "devices/virtio/virtio-rng.h"
#include "devices/virtio/virtio-serial.h"
#include "devices/vmcoreinfo.h"
#include "devices/vmgenid.h"

const struct device_class *const device_classes[] = {
    /* boards only */
    &acpi_cpuhp_class,
    &acpi_memhp_class,
    &acpi_pcihp_class,
    &acpi_pm_class,
    &ferr_class,
    &fw_cfg_class,
    &hpet_class,
    &i8042_class,
    &i8254_class,
    &i8259_class,
    &i440fx_class,
    &ich9_lpc_class,
    &ich9_smb_class,
    &ioapic_class,
    &mc146818rtc_class,
    &pflash_class,
    &piix3_class,
    &piix4_pm_class,
    &piix_ide_class,
    &port92_class,
    &q35_host_class,
    /* ISA */
    &debug_exit_class,
    &debugcon_class,
    &ib700_class,
    &pvpanic_isa_class,
    &serial_class,
    &stall_class,
    &testdev_class,
    /* IDE */
    &ide_cd_class,
    &ide_hd_class,
    /* PCI */
    &ahci_class,
    &bochs_display_class,
    &i6300esb_class,
    &pci_bridge_class,
    &pcie_pci_bridge_class,
    &pcie_root_port_class,
    &pvpanic_pci_class,
    &vga_class,
    &vhost_vsock_pci_class,
    &virtio_balloon_pci_class,
    &virtio_blk_pci_class,
    &virtio_mem_pci_class,
    &virtio_net_pci_class,
    &virtio_rng_pci_class,
    &virtio_serial_pci_class,
    /* virtio registers in memory */
    &vhost_vsock_device_class,
    &virtio_balloon_device_class,
    &virtio_blk_device_class,
    &virtio_net_device_class,
    &virtio_rng_device_class,
    &virtio_serial_device_class,
    /* no bus, or one of a device's */
    &pc_dimm_class,
    &virtconsole_class,
    &virtserialport_class,
    &vmcoreinfo_class,
    &vmgenid_class,
    NULL,
};

/* The legacy interface or none of it, whatever the slot is (VIRTIO 1.2, 4.1.2). */
#define VIRTIO_VARIANTS(name_)                                                                     \
    {"virtio-" #name_ "-pci-transitional", &virtio_##name_##_pci_class, "disable-legacy", "off"},  \
    {                                                                                              \
        "virtio-" #name_ "-pci-non-transitional", &virtio_##name_##_pci_class, "disable-legacy",   \
            "on"                                                                                   \
    }

const struct device_variant device_variants[] = {
    {"vhost-vsock-pci-non-transitional", &vhost_vsock_pci_class, "disable-legacy", "on"},
    VIRTIO_VARIANTS(balloon),
    VIRTIO_VARIANTS(blk),
    VIRTIO_VARIANTS(net),
    VIRTIO_VARIANTS(rng),
    VIRTIO_VARIANTS(serial),
    {NULL},
};

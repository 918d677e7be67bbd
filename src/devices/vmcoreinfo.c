/*
 * vmcoreinfo: a file of fw_cfg, "etc/vmcoreinfo", in which the guest's kernel says where its memory
 * holds an ELF note that describes it (QEMU's docs/specs/vmcoreinfo; Linux's driver qemu_fw_cfg
 * writes it when it is loaded). Whoever looks at the guest's memory from outside finds its way by
 * that note.
 *
 * The file has 16 bytes, little-endian: u16 format that the host can read (1: ELF), u16 format of
 * the guest, u32 size, u64 guest-physical address. What the guest writes is kept as it is.
 */
#include "devices/vmcoreinfo.h"

#include "base/bytes.h"

#include "devices/fw-cfg.h"
#include <string.h>

#define FILE_NAME  "etc/vmcoreinfo"
#define FORMAT_ELF 1

struct vmcoreinfo {
    struct device dev;
    uint8_t file[16]; /* as fw_cfg, whose state it is, tells it */
};

bool vmcoreinfo_get(const struct device *dev, gpa_t *addr, uint32_t *size)
{
    const struct vmcoreinfo *d = (const struct vmcoreinfo *)dev;

    *size = (uint32_t)bytes_get_le(d->file + 4, 4);
    *addr = bytes_get_le(d->file + 8, 8);
    return bytes_get_le(d->file + 2, 2) == FORMAT_ELF && *size > 0;
}

static void written(void *opaque, const uint8_t *data, size_t length)
{
    struct vmcoreinfo *d = opaque;

    memcpy(d->file, data, MIN(length, sizeof(d->file)));
}

static bool vmcoreinfo_realize(struct device *dev, GError **error)
{
    struct vmcoreinfo *d = (struct vmcoreinfo *)dev;
    struct device *fw = devices_find_class(dev->env, &fw_cfg_class);

    if (devices_find_class(dev->env, &vmcoreinfo_class)) {
        g_set_error(error, DEVICE_ERROR, 0, "at most one vmcoreinfo device is permitted");
        return false;
    }
    if (!fw) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "vmcoreinfo device requires fw_cfg, which this machine does not have");
        return false;
    }
    d->file[0] = FORMAT_ELF;
    return fw_cfg_add_writable_file(fw, FILE_NAME, d->file, sizeof(d->file), written, d, error);
}

const struct device_class vmcoreinfo_class = {
    .name = "vmcoreinfo",
    .help = "where the guest's kernel says how to read its memory",
    .bus = BUS_NONE,
    .size = sizeof(struct vmcoreinfo),
    .state = &state_none,
    .realize = vmcoreinfo_realize,
};

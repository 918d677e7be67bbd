/*
 * What a PC tells its firmware: fw_cfg items and files (QEMU's docs/specs/fw_cfg, and the names
 * that SeaBIOS and OVMF look for), and the CMOS bytes that PC firmware has always read.
 *
 * Nothing here depends on which firmware it is, and a -kernel that is started without firmware
 * finds the same items.
 */
#include "machine/x86/pc-priv.h"

#include "base/data-file.h"
#include "cpu/x86/cpuid.h"
#include "devices/acpi-pcihp.h"
#include "devices/acpi-pm.h"
#include "devices/display/pci-display.h"
#include "devices/fw-cfg.h"
#include "devices/ide/ata.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/pvpanic.h"
#include "devices/vmgenid.h"
#include "machine/x86/smbios.h"
#include <string.h>

/* CMOS bytes, as SeaBIOS knows them. */
#define CMOS_FLOPPY      0x10
#define CMOS_DISKS       0x12
#define CMOS_EQUIPMENT   0x14
#define CMOS_BASE_MEMORY 0x15
#define CMOS_EXTENDED    0x17 /* KiB above 1 MiB; again at 0x30 */
#define CMOS_EXTENDED_2  0x30
#define CMOS_DISK_TYPE   0x19 /* of the first disk, then the second */
#define CMOS_DISK_1      0x1b /* nine bytes each */
#define CMOS_DISK_2      0x24
#define CMOS_TRANSLATION 0x39 /* two bits for each of four disks */
#define CMOS_ABOVE_16M   0x34 /* in 64 KiB */
#define CMOS_BOOT_THIRD  0x38
#define CMOS_BOOT_FIRST  0x3d
#define CMOS_ABOVE_4G    0x5b /* in 64 KiB */
#define CMOS_CPUS        0x5f /* less one */

#define EQUIPMENT_FPU    0x02
#define EQUIPMENT_PS2    0x04

#define E820_ENTRY_BYTES 20

void pc_cmos_set(const struct pc *q, uint8_t index, uint8_t value)
{
    if (q->rtc) {
        mc146818rtc_set_cmos(q->rtc, index, value);
    }
}

static void cmos_put16(const struct pc *q, uint8_t index, uint64_t value)
{
    pc_cmos_set(q, index, (uint8_t)value);
    pc_cmos_set(q, index + 1, (uint8_t)(value >> 8));
}

static void cmos_init(const struct machine *m, const struct pc *q)
{
    uint64_t above_1m = MIN((q->low_bytes - HIGH_RAM) >> 10, 0xffff);
    uint64_t above_16m = q->low_bytes > 16u << 20 ? (q->low_bytes - (16u << 20)) >> 16 : 0;
    uint64_t above_4g = q->high_bytes >> 16;

    cmos_put16(q, CMOS_BASE_MEMORY, 640);
    cmos_put16(q, CMOS_EXTENDED, above_1m);
    cmos_put16(q, CMOS_EXTENDED_2, above_1m);
    cmos_put16(q, CMOS_ABOVE_16M, above_16m);
    cmos_put16(q, CMOS_ABOVE_4G, above_4g);
    pc_cmos_set(q, CMOS_ABOVE_4G + 2, (uint8_t)(above_4g >> 16));
    pc_cmos_set(q, CMOS_CPUS, (uint8_t)(m->cpus->n - 1));
    pc_cmos_set(q, CMOS_FLOPPY, 0);
    pc_cmos_set(q, CMOS_EQUIPMENT, EQUIPMENT_FPU | EQUIPMENT_PS2);
}

#define DISK_TYPE_USER 47 /* the nine bytes say what it is */

/* The disk in that place of the first controller; NULL: none. */
static const struct ata_drive *disk_at(const struct machine *m, unsigned n)
{
    const GPtrArray *buses = m->env.ide_buses;
    const char *name = n < IDE_UNITS ? "ide.0" : "ide.1";

    for (guint i = 0; buses && i < buses->len; i++) {
        const struct ide_bus *bus = buses->pdata[i];
        const struct ata_drive *d = bus->drive[n % IDE_UNITS];

        if (strcmp(bus->name, name) == 0) {
            return d && d->kind == ATA_DISK ? d : NULL;
        }
    }
    return NULL;
}

/* The disks' geometry, where the BIOS looks for it. */
static void disks_tell(const struct machine *m, const struct pc *q)
{
    uint8_t types = 0, translation = 0;

    for (unsigned n = 0; n < 2 * IDE_UNITS; n++) {
        const struct ata_drive *d = disk_at(m, n);
        const struct ata_geometry *g = d ? &d->geometry : NULL;
        uint8_t at = n == 0 ? CMOS_DISK_1 : CMOS_DISK_2;

        if (!d) {
            continue;
        }
        translation |= (uint8_t)((g->translation - BIOS_ATA_TRANSLATION_NONE) << (2 * n));
        if (n < 2) {
            types |= n == 0 ? 0xf0 : 0x0f;
            pc_cmos_set(q, (uint8_t)(CMOS_DISK_TYPE + n), DISK_TYPE_USER);
            cmos_put16(q, at, g->cyls);
            pc_cmos_set(q, at + 2, (uint8_t)g->heads);
            cmos_put16(q, at + 3, 0xffff); /* no write precompensation */
            pc_cmos_set(q, at + 5, 0xc0 | (g->heads > 8) << 3);
            cmos_put16(q, at + 6, g->cyls); /* landing zone */
            pc_cmos_set(q, at + 8, (uint8_t)g->secs);
        }
    }
    pc_cmos_set(q, CMOS_DISKS, types);
    pc_cmos_set(q, CMOS_TRANSLATION, translation);
}

/* ---------------------------------------------------------------- what to boot from */

/* The number of a kind of boot device in CMOS; 0: a PC cannot boot from that. */
static unsigned boot_device(char letter)
{
    switch (letter) {
    case 'a':
    case 'b':
        return 1;
    case 'c':
        return 2;
    case 'd':
        return 3;
    case 'n':
        return 4;
    default:
        return 0;
    }
}

static bool boot_order_set(const struct machine *m, const struct pc *q, const char *order,
                           GError **error)
{
    unsigned device[3] = {0};

    if (strlen(order) > 3) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "boot order '%s': a PC takes three kinds of device at most", order);
        return false;
    }
    for (unsigned i = 0; order[i]; i++) {
        device[i] = boot_device(order[i]);
        if (!device[i]) {
            g_set_error(
                error, MACHINE_ERROR, 0,
                "boot order '%s': '%c' is none of a, b (floppy), c (disk), d (CD), n (network)",
                order, order[i]);
            return false;
        }
    }
    pc_cmos_set(q, CMOS_BOOT_FIRST, (uint8_t)(device[1] << 4 | device[0]));
    pc_cmos_set(q, CMOS_BOOT_THIRD, (uint8_t)(device[2] << 4 | m->config->boot.no_floppy_check));
    return true;
}

static const char *boot_order(const struct machine *m)
{
    return m->config->boot.order ? m->config->boot.order : "cad";
}

/* vCPUs have come or gone since the start. */
static void cpus_tell(const struct machine *m, const struct pc *q)
{
    pc_cmos_set(q, CMOS_CPUS, (uint8_t)(m->cpus->n - 1));
    fw_cfg_set_u16(q->fw_cfg, FW_CFG_NB_CPUS, (uint16_t)m->cpus->n);
}

/* Systems and firmware look for it in different places. */
static void uuid_set(const struct machine *m, const struct pc *q)
{
    const char *text = m->config->uuid;
    uint8_t bytes[16] = {0};

    for (unsigned n = 0; text && *text; text++) {
        if (*text != '-') {
            bytes[n / 2] = (uint8_t)(bytes[n / 2] << 4 | g_ascii_xdigit_value(*text));
            n++;
        }
    }
    fw_cfg_set(q->fw_cfg, FW_CFG_UUID, bytes, sizeof(bytes));
}

#define SPLASH_BYTES_MAX (64u << 20)

/* The file that SeaBIOS looks for; NULL: it can't show such a picture. */
static const char *splash_file(const uint8_t *picture, size_t length)
{
    if (length > 2 && picture[0] == 0xff && picture[1] == 0xd8) {
        return "bootsplash.jpg";
    }
    return length > 30 && picture[0] == 'B' && picture[1] == 'M' && picture[28] == 24
               ? "bootsplash.bmp"
               : NULL;
}

static bool splash_add(const struct machine *m, const struct pc *q, GError **error)
{
    const char *name = m->config->boot.splash, *file;
    g_autofree char *path = NULL;
    g_autoptr(GMappedFile) picture = NULL;
    const void *data;
    size_t length;

    if (!name) {
        return true;
    }
    path = data_file_find(m->config->data_dirs, name, error);
    picture = path ? g_mapped_file_new(path, false, error) : NULL;
    if (!picture) {
        g_prefix_error(error, "-boot splash=%s: ", name);
        return false;
    }
    data = g_mapped_file_get_contents(picture);
    length = g_mapped_file_get_length(picture);
    file = splash_file(data, length);
    if (!file || length > SPLASH_BYTES_MAX) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "-boot splash=%s: not a JPEG picture or a BMP with 24 bits per pixel, of %u "
                    "MiB at most",
                    name, SPLASH_BYTES_MAX >> 20);
        return false;
    }
    return fw_cfg_add_file(q->fw_cfg, file, data, length, error);
}

static bool boot_init(struct machine *m, const struct pc *q, GError **error)
{
    const struct boot_options *boot = &m->config->boot;
    uint8_t word[4];

    if (!splash_add(m, q, error)) {
        return false;
    }
    fw_cfg_set_u16(q->fw_cfg, FW_CFG_BOOT_MENU, boot->menu);
    put_le16(word, boot->splash_time_ms);
    if (boot->has_splash_time &&
        !fw_cfg_add_file(q->fw_cfg, "etc/boot-menu-wait", word, 2, error)) {
        return false;
    }
    put_le32(word, (uint32_t)boot->reboot_timeout_ms);
    if (!fw_cfg_add_file(q->fw_cfg, "etc/boot-fail-wait", word, 4, error)) {
        return false;
    }
    /* Both are looked at, so that a mistake in the one shows while the other is in force. */
    return boot_order_set(m, q, boot_order(m), error) &&
           (!boot->once || boot_order_set(m, q, boot->once, error));
}

/* ---------------------------------------------------------------- fw_cfg */

static bool e820_add(const struct pc *q, GError **error)
{
    const struct e820_entry entry[] = {
        {0, q->low_bytes, E820_RAM},
        {Q35_HIGH_RAM, q->high_bytes, E820_RAM},
    };
    uint8_t bytes[G_N_ELEMENTS(entry) * E820_ENTRY_BYTES];
    size_t length = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(entry); i++) {
        if (entry[i].size) {
            put_le64(bytes + length, entry[i].base);
            put_le64(bytes + length + 8, entry[i].size);
            put_le32(bytes + length + 16, entry[i].type);
            length += E820_ENTRY_BYTES;
        }
    }
    return fw_cfg_add_file(q->fw_cfg, "etc/e820", bytes, length, error);
}

static bool smbios_add(const struct machine *m, struct pc *q, GError **error)
{
    const struct cpu_topology *t = &m->config->topology;
    const struct cpuid_leaf leaf = cpu_model_cpuid(m->cpu_model, 0, 1, 0);
    const struct smbios_config config = {
        .product = m->board->desc,
        .version = m->board->name,
        .uuid = m->config->uuid,
        .sockets = t->sockets,
        .cores = t->dies * t->cores,
        .threads = t->threads,
        .processor_id = (uint64_t)leaf.edx << 32 | leaf.eax,
        .low_bytes = q->low_bytes,
        .high_bytes = q->high_bytes,
        .fields = m->config->smbios,
    };
    g_autoptr(GByteArray) tables = NULL;
    g_autoptr(GByteArray) anchor = NULL;
    bool ok = smbios_build(&config, &tables, &anchor, error);

    if (ok && !pc_has_firmware(m)) {
        static const uint8_t padding[SMBIOS_ENTRY_BYTES];

        q->smbios = g_byte_array_new();
        smbios_locate(anchor, Q35_SMBIOS + SMBIOS_ENTRY_BYTES);
        g_byte_array_append(q->smbios, anchor->data, anchor->len);
        g_byte_array_append(q->smbios, padding, SMBIOS_ENTRY_BYTES - anchor->len);
        g_byte_array_append(q->smbios, tables->data, tables->len);
    }
    return ok && fw_cfg_add_file(q->fw_cfg, SMBIOS_FILE_TABLES, tables->data, tables->len, error) &&
           fw_cfg_add_file(q->fw_cfg, SMBIOS_FILE_ANCHOR, anchor->data, anchor->len, error);
}

/* Those that come when all devices are there, or with a device that is plugged in later. */
static bool file_comes_later(const struct machine *m, const char *name)
{
    static const char *const always[] = {"bootorder", "bios-geometry", NULL};
    static const char *const acpi[] = {ACPI_FILE_TABLES, ACPI_FILE_RSDP, ACPI_FILE_LOADER, NULL};

    return g_strv_contains(always, name) ||
           (pc_has_firmware(m) && !m->config->no_acpi && g_strv_contains(acpi, name));
}

static bool user_file_check(const struct machine *m, const struct pc *q, const char *name,
                            GError **error)
{
    if (fw_cfg_has_file(q->fw_cfg, name) || file_comes_later(m, name)) {
        g_set_error(error, MACHINE_ERROR, 0, "-fw_cfg: file '%s' is the machine's own", name);
        return false;
    }
    return true;
}

/* Mistakes of -fw_cfg show before devices are made. */
static bool user_files_check(const struct machine *m, const struct pc *q, GError **error)
{
    for (guint i = 0; i < m->config->fw_files->len; i++) {
        const struct fw_file *file = m->config->fw_files->pdata[i];

        if (!user_file_check(m, q, file->name, error)) {
            return false;
        }
    }
    return true;
}

bool pc_firmware_init(struct machine *m, GError **error)
{
    struct pc *q = m->board_data;
    struct device *fw = fw_cfg_create(&m->env, error);

    q->fw_cfg = fw;
    if (!fw) {
        return false;
    }
    fw_cfg_set_u64(fw, FW_CFG_RAM_SIZE, m->config->ram_bytes);
    fw_cfg_set_u16(fw, FW_CFG_NB_CPUS, (uint16_t)m->cpus->n);
    fw_cfg_set_u16(fw, FW_CFG_MAX_CPUS, (uint16_t)m->cpus->max);
    uuid_set(m, q);
    fw_cfg_set_u32(fw, FW_CFG_IRQ0_OVERRIDE, 1);
    /* By ACPI sleep state: bit 7 offered, bits 0 to 6 its SLP_TYP. */
    const uint8_t sleep[6] = {
        0x80, 0, 0, q->chipset->offers_s3(q) ? 0x81 : 0x01, q->chipset->offers_s4(q) ? 0x82 : 0x02,
        0x80,
    };
    cmos_init(m, q);
    return fw_cfg_add_file(fw, "etc/system-states", sleep, sizeof(sleep), error) &&
           e820_add(q, error) && smbios_add(m, q, error) && boot_init(m, q, error) &&
           user_files_check(m, q, error);
}

/* ---------------------------------------------------------------- when all devices are there */

/* The parts of a node's memory: RAM below the hole, and above 4 GiB. */
static unsigned node_ranges(const struct pc *q, uint64_t start, uint64_t bytes, uint32_t node,
                            struct acpi_memory_range *range)
{
    uint64_t low = start < q->low_bytes ? MIN(bytes, q->low_bytes - start) : 0;
    unsigned n = 0;

    if (low) {
        range[n++] = (struct acpi_memory_range){start, low, node, false};
    }
    if (bytes > low) {
        range[n++] = (struct acpi_memory_range){Q35_HIGH_RAM + start + low - q->low_bytes,
                                                bytes - low, node, false};
    }
    return n;
}

/* Where memory is, and where there may be some, by node. */
static unsigned memory_ranges(const struct machine *m, const struct pc *q,
                              struct acpi_memory_range *range)
{
    const struct numa_config *numa = &m->config->numa;
    uint64_t start = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < numa->n; i++) {
        n += node_ranges(q, start, numa->node[i].bytes, i, range + n);
        start += numa->node[i].bytes;
    }
    if (q->memory.bytes) {
        range[n++] = (struct acpi_memory_range){q->memory.base, q->memory.bytes, numa->n - 1, true};
    }
    return n;
}

/* Calls with the machine's ACPI description. */
static void with_acpi_config(struct machine *m,
                             void (*fn)(const struct acpi_config *config, void *opaque),
                             void *opaque)
{
    struct pc *q = m->board_data;
    const struct device *panic = devices_find_class(&m->env, &pvpanic_isa_class);
    const struct device *generation = devices_find_class(&m->env, &vmgenid_class);
    const struct numa_config *numa = &m->config->numa;
    struct acpi_memory_range range[2 * NUMA_NODES + 1];
    unsigned n_ranges = memory_ranges(m, q, range);
    uint8_t distance[NUMA_NODES * NUMA_NODES];
    uint32_t apic_id[ACPI_MAX_CPUS];
    bool present[ACPI_MAX_CPUS];
    const struct acpi_config config = {
        .chipset = q->chipset->acpi,
        .pm_base = acpi_pm_base(q->pm),
        .n_cpus = m->cpus->max,
        .cpu_present = present,
        .apic_id = apic_id,
        .cpu_hotplug_port = q->cpu_hotplug ? q->chipset->cpu_hotplug_port : 0,
        .hpet = !m->config->no_hpet && !q->chipset->bare,
        .no_pic = !q->pic,
        .no_rtc = !q->rtc,
        .no_com1 = m->config->no_serial,
        .i8042 = !q->chipset->bare,
        .vga = devices_find_class(&m->env, &vga_class) != NULL,
        .pvpanic_port = panic ? pvpanic_isa_port(panic) : 0,
        .s3 = q->chipset->offers_s3(q),
        .s4 = q->chipset->offers_s4(q),
        .generation = generation ? vmgenid_bytes(generation) : NULL,
        .generation_at = &q->generation_at,
        .user_tables = m->config->acpi_tables,
        .pci_hotplug_port = q->pcihp ? ACPI_PCIHP_BASE : 0,
        .pci_slots = q->pcihp ? acpi_pcihp_slots(q->pcihp) : 0,
        .memory_hotplug_port = ACPI_MEMHP_BASE,
        .n_memory_slots = q->memory.n,
        .numa_node_of_cpu = numa->of_cpu,
        .n_ranges = n_ranges,
        .range = range,
        .n_nodes = numa->n,
        .distance = numa->has_distances ? distance : NULL,
    };

    for (unsigned i = 0; i < numa->n; i++) {
        memcpy(distance + i * numa->n, numa->distance[i], numa->n);
    }

    for (unsigned i = 0; i < m->cpus->max; i++) {
        apic_id[i] = cpu_topology_apic_id(&m->cpu_model->topology, i);
        present[i] = cpus_find(m->cpus, i) != NULL;
    }
    fn(&config, opaque);
}

static void build_tables(const struct acpi_config *config, void *opaque)
{
    *(GByteArray **)opaque = acpi_build(config, Q35_TABLES);
}

static void build_files(const struct acpi_config *config, void *opaque)
{
    acpi_build_files(config, opaque);
}

GByteArray *pc_tables_make(struct machine *m, GError **error)
{
    GByteArray *tables;

    with_acpi_config(m, build_tables, &tables);
    if (tables->len > Q35_SMBIOS - Q35_TABLES) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "ACPI tables of %u bytes do not fit in %u: -acpitable has too many, but for "
                    "-machine kernel-boot=firmware",
                    tables->len, Q35_SMBIOS - Q35_TABLES);
        g_clear_pointer(&tables, g_byte_array_unref);
    }
    return tables;
}

static bool acpi_add(struct machine *m, struct pc *q, GError **error)
{
    struct acpi_files files;
    bool ok;

    q->told_pm_base = acpi_pm_base(q->pm);
    q->told_cpus = m->cpus->n;

    with_acpi_config(m, build_files, &files);
    ok = fw_cfg_add_file(q->fw_cfg, ACPI_FILE_TABLES, files.tables->data, files.tables->len,
                         error) &&
         fw_cfg_add_file(q->fw_cfg, ACPI_FILE_RSDP, files.rsdp->data, files.rsdp->len, error) &&
         fw_cfg_add_file(q->fw_cfg, ACPI_FILE_LOADER, files.loader->data, files.loader->len, error);
    acpi_files_clear(&files);
    return ok;
}

/* Firmware places the power management block before it asks for the tables that tell where it is.
 * Lengths stay as they were. */
static void acpi_refresh(void *opaque, const char *name)
{
    struct machine *m = opaque;
    struct pc *q = m->board_data;

    if ((q->told_pm_base != acpi_pm_base(q->pm) || q->told_cpus != m->cpus->n) &&
        strcmp(name, ACPI_FILE_LOADER) == 0) {
        acpi_add(m, q, NULL);
    }
}

/* ---------------------------------------------------------------- a kernel for the firmware */

static void item_set(const struct pc *q, uint16_t size_key, uint16_t data_key, GBytes *bytes)
{
    gsize length;
    const void *data = g_bytes_get_data(bytes, &length);

    fw_cfg_set_u32(q->fw_cfg, size_key, (uint32_t)length);
    fw_cfg_set(q->fw_cfg, data_key, data, length);
}

/* Has SeaBIOS start what the items are of. */
static bool kernel_rom_add(const struct machine *m, struct pc *q, const char *name, GError **error)
{
    g_autofree char *path = data_file_find(m->config->data_dirs, name, error);
    g_autofree char *file = g_strconcat("genroms/", name, NULL);
    g_autofree char *rom = NULL;
    gsize length;

    q->kernel_rom = name;
    return path && g_file_get_contents(path, &rom, &length, error) &&
           fw_cfg_add_file(q->fw_cfg, file, rom, length, error);
}

/* UEFI firmware takes the items themselves; SeaBIOS wants a ROM that it boots from. */
static bool kernel_add(const struct machine *m, struct pc *q, GError **error)
{
    const struct boot_request request = {
        .kernel = m->config->kernel,
        .initrd = m->config->initrd,
        .append = m->config->append,
        .low_top = q->low_bytes,
    };
    struct boot_items items;
    bool ok;

    if (!m->config->kernel || !m->config->kernel_by_firmware) {
        return true;
    }
    if (!boot_items_read(&request, &items, error)) {
        return false;
    }
    fw_cfg_set_u32(q->fw_cfg, FW_CFG_SETUP_ADDR, BOOT_ITEM_SETUP);
    fw_cfg_set_u32(q->fw_cfg, FW_CFG_KERNEL_ADDR, items.kernel_addr);
    fw_cfg_set_u32(q->fw_cfg, FW_CFG_KERNEL_ENTRY, items.entry);
    fw_cfg_set_u32(q->fw_cfg, FW_CFG_CMDLINE_ADDR, BOOT_ITEM_CMDLINE);
    fw_cfg_set_u32(q->fw_cfg, FW_CFG_INITRD_ADDR, items.initrd_addr);
    item_set(q, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA, items.setup);
    item_set(q, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, items.kernel);
    item_set(q, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, items.initrd);
    item_set(q, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA, items.cmdline);
    ok = q->has_flash || kernel_rom_add(m, q, items.rom, error);
    if (ok && q->has_flash && items.entry) {
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_FORMAT,
                    "kernel '%s': UEFI firmware starts no Multiboot image", m->config->kernel);
        ok = false;
    }
    boot_items_clear(&items);
    return ok;
}

/* ---------------------------------------------------------------- bootorder */

/* Lines of what is tried first; HALT ends the search. Plugged devices come in at a reset. */
static void bootable_add(struct device *dev, void *list)
{
    if (dev->class->boot_path && dev->bootindex != BOOTINDEX_NONE) {
        g_ptr_array_add(list, dev);
    }
}

static int compare_bootindex(gconstpointer a, gconstpointer b)
{
    const struct device *x = *(struct device *const *)a, *y = *(struct device *const *)b;

    return x->bootindex < y->bootindex ? -1 : x->bootindex > y->bootindex;
}

static void add_devices(struct machine *m, GString *lines)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();

    devices_foreach(&m->env, bootable_add, devices);
    g_ptr_array_sort(devices, compare_bootindex);
    for (guint i = 0; i < devices->len; i++) {
        struct device *dev = devices->pdata[i];
        g_autofree char *path = dev->class->boot_path(dev);

        g_string_append_printf(lines, "%s\n", path);
    }
}

static bool bootorder_add(struct machine *m, struct pc *q, GError **error)
{
    g_autoptr(GString) lines = g_string_new(NULL);

    if (q->kernel_rom) {
        g_string_append_printf(lines, "/rom@genroms/%s\n", q->kernel_rom);
    }
    add_devices(m, lines);
    if (m->config->boot.strict && lines->len) { /* without such devices all are tried, as ever */
        g_string_append(lines, "HALT\n");
    }
    if (lines->len == 0 && !q->has_bootorder) {
        return true;
    }
    q->has_bootorder = true;
    if (lines->len) {
        lines->str[lines->len - 1] = '\0';
    } else {
        g_string_append_c(lines, '\0'); /* what was in it is no more */
    }
    return fw_cfg_add_file(q->fw_cfg, "bootorder", lines->str, lines->len, error);
}

/* ---------------------------------------------------------------- geometries that users want */

static void geometry_add(struct device *dev, void *opaque)
{
    struct bios_geometry g = {0};
    GString *lines = opaque;

    if (dev->class->bios_geometry) {
        g = dev->class->bios_geometry(dev);
    }
    if (g.cyls || g.heads || g.secs) {
        g_autofree char *path = dev->class->boot_path(dev);

        g_string_append_printf(lines, "%s%s %u %u %u", lines->len ? "\n" : "", path, g.cyls,
                               g.heads, g.secs);
    }
}

/* Plugged devices come in at a reset. */
static bool geometries_add(struct machine *m, struct pc *q, GError **error)
{
    g_autoptr(GString) lines = g_string_new(NULL);

    devices_foreach(&m->env, geometry_add, lines);
    if (!lines->len && !q->has_geometries) {
        return true;
    }
    q->has_geometries = true;
    return fw_cfg_add_file(q->fw_cfg, "bios-geometry", lines->str, lines->len + 1, error);
}

bool pc_boot_again(struct machine *m, GError **error)
{
    cpus_tell(m, m->board_data);
    return boot_order_set(m, m->board_data, boot_order(m), error) &&
           bootorder_add(m, m->board_data, error) && geometries_add(m, m->board_data, error);
}

/* Firmware places 64-bit BARs behind what may be plugged in. */
static bool memory_end_add(const struct pc *q, GError **error)
{
    uint8_t end[8];

    put_le64(end, q->memory.base + q->memory.bytes);
    return !q->memory.n ||
           fw_cfg_add_file(q->fw_cfg, "etc/reserved-memory-end", end, sizeof(end), error);
}

/* -fw_cfg, when the machine's own are all there. */
static bool user_files_add(struct machine *m, const struct pc *q, GError **error)
{
    for (guint i = 0; i < m->config->fw_files->len; i++) {
        const struct fw_file *file = m->config->fw_files->pdata[i];
        gsize length;
        const void *data = g_bytes_get_data(file->content, &length);

        if (fw_cfg_has_file(q->fw_cfg, file->name)) { /* a device's */
            g_set_error(error, MACHINE_ERROR, 0, "-fw_cfg: file '%s' is the machine's own",
                        file->name);
            return false;
        }
        if (!fw_cfg_add_file(q->fw_cfg, file->name, data, length, error)) {
            return false;
        }
    }
    return true;
}

bool pc_firmware_finish(struct machine *m, GError **error)
{
    struct pc *q = m->board_data;
    const struct device *panic = devices_find_class(&m->env, &pvpanic_isa_class);
    uint8_t port[2];

    disks_tell(m, q);
    if (pc_has_firmware(m) && !m->config->no_acpi) {
        fw_cfg_on_read(q->fw_cfg, acpi_refresh, m);
    }

    fw_cfg_set_u16(q->fw_cfg, FW_CFG_NOGRAPHIC,
                   m->config->nographic || !devices_find_class(&m->env, &vga_class));
    if (panic) {
        put_le16(port, pvpanic_isa_port(panic));
        if (!fw_cfg_add_file(q->fw_cfg, "etc/pvpanic-port", port, sizeof(port), error)) {
            return false;
        }
    }
    return kernel_add(m, q, error) && memory_end_add(q, error) && bootorder_add(m, q, error) &&
           geometries_add(m, q, error) &&
           (!pc_has_firmware(m) || m->config->no_acpi || acpi_add(m, q, error)) &&
           user_files_add(m, q, error);
}

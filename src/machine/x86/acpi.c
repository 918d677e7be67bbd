/*
 * ACPI tables, built byte by byte: see acpi.h. Section numbers are those of ACPI 5.0.
 *
 * There is no SMI command port: the machine is in ACPI mode from the start (4.8.2.5, SMI_CMD zero).
 *
 * Firmware gets the same tables as files, laid out from address 0, with a list of commands that say
 * where addresses stand in them and which sums to make right once they have a place (the linker and
 * loader interface of QEMU's firmware configuration: 128-byte entries, little-endian).
 * Left out: BERT/HEST, SPCR, TPM.
 */
#include "machine/x86/acpi.h"
#include "machine/x86/acpi-hotplug.h"

#include "machine/x86/boot-priv.h"
#include "machine/x86/q35-map.h"
#include <string.h>

#include "dsdt.hex"
#include "dsdt_microvm.hex"
#include "dsdt_pc.hex"
#include "ssdt_com1.hex"
#include "ssdt_cpus.hex"
#include "ssdt_hpet.hex"
#include "ssdt_memory.hex"
#include "ssdt_pcihp.hex"
#include "ssdt_pvpanic.hex"
#include "ssdt_rtc.hex"
#include "ssdt_s3.hex"
#include "ssdt_s4.hex"
#include "ssdt_vmgenid.hex"

#define OEM_ID       "GODWIT"
#define OEM_TABLE_ID "GWTQ35  "
#define CREATOR_ID   "GDWT"

#define HEADER_BYTES 36
#define OEM_AT       10 /* OEM ID and OEM table ID */
#define OEM_BYTES    14
#define FADT_BYTES   244 /* revision 3 */
#define FACS_BYTES   64
#define RSDP_BYTES   36

#define MAX_TABLES   (24 + ACPI_USER_TABLES)

#define PORT92       0x92
#define PORT92_RESET 0x01

/* An address in the tables. */
struct link {
    uint32_t at;
    uint8_t size;
};

/* A table that has addresses in it: its sum changes with them. */
struct linked_table {
    uint32_t at, length;
};

struct builder {
    GByteArray *out;
    gpa_t base;
    unsigned n;
    gpa_t table[MAX_TABLES]; /* what RSDT and XSDT list */
    GArray *links;           /* struct link */
    GArray *linked;          /* struct linked_table */
    const uint8_t *slic;     /* the user's table SLIC, or NULL */
};

static void checksum_set(uint8_t *p, size_t length, size_t at)
{
    uint8_t sum = 0;

    p[at] = 0;
    for (size_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + p[i]);
    }
    p[at] = (uint8_t)-sum;
}

static void align_to(GByteArray *out, unsigned align)
{
    static const uint8_t zeroes[64];
    unsigned over = out->len % align;
    if (over) {
        g_byte_array_append(out, zeroes, align - over);
    }
}

static void add8(GByteArray *t, uint8_t v)
{
    g_byte_array_append(t, &v, 1);
}

static void add16(GByteArray *t, uint16_t v)
{
    uint8_t b[2];
    put_le16(b, v);
    g_byte_array_append(t, b, 2);
}

static void add32(GByteArray *t, uint32_t v)
{
    uint8_t b[4];
    put_le32(b, v);
    g_byte_array_append(t, b, 4);
}

static void add64(GByteArray *t, uint64_t v)
{
    uint8_t b[8];
    put_le64(b, v);
    g_byte_array_append(t, b, 8);
}

static void add_zeroes(GByteArray *t, unsigned n)
{
    while (n-- > 0) {
        add8(t, 0);
    }
}

/* A table with the common header (5.2.6); length and checksum come later, in table_place(). */
static GByteArray *table_new(const char *signature, uint8_t revision)
{
    GByteArray *t = g_byte_array_new();

    g_byte_array_append(t, (const guint8 *)signature, 4);
    add32(t, 0);
    add8(t, revision);
    add8(t, 0);
    g_byte_array_append(t, (const guint8 *)OEM_ID, 6);
    g_byte_array_append(t, (const guint8 *)OEM_TABLE_ID, 8);
    add32(t, 1);
    g_byte_array_append(t, (const guint8 *)CREATOR_ID, 4);
    add32(t, 1);
    return t;
}

/* Windows takes a licence (SLIC) only where FADT, RSDT and XSDT are of the same maker. */
static void maker_set(const struct builder *b, GByteArray *t)
{
    if (b->slic) {
        memcpy(t->data + OEM_AT, b->slic + OEM_AT, OEM_BYTES);
    }
}

/* Finishes t, appends it to the output and frees it; returns where it is. */
static gpa_t table_place(struct builder *b, GByteArray *t, bool listed)
{
    put_le32(t->data + 4, t->len);
    checksum_set(t->data, t->len, 9);
    align_to(b->out, 64);
    gpa_t addr = b->base + b->out->len;
    g_byte_array_append(b->out, t->data, t->len);
    g_byte_array_unref(t);
    if (listed) {
        b->table[b->n++] = addr;
    }
    return addr;
}

/* A table that iasl has made whole. */
static gpa_t aml_place(struct builder *b, const unsigned char *code, size_t length, bool listed)
{
    align_to(b->out, 64);
    gpa_t addr = b->base + b->out->len;
    g_byte_array_append(b->out, code, (guint)length);
    if (listed) {
        b->table[b->n++] = addr;
    }
    return addr;
}

/* The panic device's table with its port in place of the usual one. */
static void pvpanic_place(struct builder *b, uint16_t port)
{
    static const uint8_t io[] = {0x47, 0x01, 0x05, 0x05, 0x05, 0x05}; /* I/O descriptor, 6.4.2.5 */
    uint8_t *aml;
    size_t at = 0, length = sizeof(ssdt_pvpanic_aml_code);
    gpa_t addr = aml_place(b, ssdt_pvpanic_aml_code, length, true);

    aml = b->out->data + (addr - b->base);
    while (memcmp(aml + at, io, sizeof(io)) != 0) {
        at++;
        g_assert(at + sizeof(io) <= length);
    }
    put_le16(aml + at + 2, port);
    put_le16(aml + at + 4, port);
    checksum_set(aml, length, 9);
}

/* Generic address structure (5.2.3.1) for an I/O port; access: 1 byte, 2 word, 3 dword. */
static void add_gas_io(GByteArray *t, uint16_t port, uint8_t bits, uint8_t access)
{
    add8(t, port ? 1 : 0);
    add8(t, bits);
    add8(t, 0);
    add8(t, access);
    add64(t, port);
}

static gpa_t facs_place(struct builder *b)
{
    uint8_t facs[FACS_BYTES] = "FACS";

    put_le32(facs + 4, FACS_BYTES);
    /* Version 0 (ACPI 1.0): no X_Firmware_Waking_Vector, for we wake in real mode only. */
    align_to(b->out, 64);
    gpa_t addr = b->base + b->out->len;
    g_assert(b->out->len == ACPI_FACS);
    g_byte_array_append(b->out, facs, sizeof(facs));
    return addr;
}

/* The table that was placed last has addresses of `size` bytes from `at` in it on. */
static void links_add(struct builder *b, gpa_t table, uint32_t at, unsigned n, uint8_t size)
{
    for (unsigned i = 0; i < n; i++) {
        struct link link = {(uint32_t)(table - b->base) + at + i * size, size};

        g_array_append_val(b->links, link);
    }
}

static void linked_add(struct builder *b, gpa_t table)
{
    uint32_t at = (uint32_t)(table - b->base);
    struct linked_table linked = {at, get_le32(b->out->data + at + 4)};

    g_array_append_val(b->linked, linked);
}

/* The machine's generation and, in a table of its own, where it is. */
static void generation_place(struct builder *b, const struct acpi_config *config)
{
    static const uint8_t name[] = {'V', 'G', 'I', 'A', 0x0c, 0x44, 0x33, 0x22, 0x11}; /* 20.2.3 */
    size_t at = 0, length = sizeof(ssdt_vmgenid_aml_code);
    gpa_t table;

    align_to(b->out, 64);
    *config->generation_at = b->out->len;
    g_byte_array_append(b->out, config->generation, 16);
    table = aml_place(b, ssdt_vmgenid_aml_code, length, true);
    while (memcmp(b->out->data + (table - b->base) + at, name, sizeof(name)) != 0) {
        at++;
        g_assert(at + sizeof(name) <= length);
    }
    put_le32(b->out->data + (table - b->base) + at + 5, (uint32_t)b->base + *config->generation_at);
    checksum_set(b->out->data + (table - b->base), length, 9);
    links_add(b, table, (uint32_t)at + 5, 1, 4);
    linked_add(b, table);
}

enum { /* FADT flags (5.2.9, table 5-35) */
       FADT_WBINVD = 1u << 0,
       FADT_PROC_C1 = 1u << 2,
       FADT_SLP_BUTTON = 1u << 5, /* set: no fixed sleep button; the power button is fixed */
       FADT_RESET_REG = 1u << 10,
       FADT_PLATFORM_CLOCK = 1u << 15, /* time by PM timer or HPET, not by the processors */
};

enum { /* IA-PC boot architecture flags (5.2.9.3) */
       IAPC_LEGACY_DEVICES = 1u << 0,
       IAPC_8042 = 1u << 1,
       IAPC_NO_VGA = 1u << 2,
       IAPC_NO_RTC = 1u << 5,
};

static void fadt_place(struct builder *b, const struct acpi_config *config, gpa_t facs, gpa_t dsdt)
{
    uint16_t base = config->pm_base;
    GByteArray *t = table_new("FACP", 3);

    add32(t, (uint32_t)facs);
    add32(t, (uint32_t)dsdt);
    add8(t, 1); /* interrupt model of ACPI 1.0: dual PIC */
    add8(t, 0); /* power profile: unspecified */
    add16(t, Q35_SCI_IRQ);
    add32(t, 0);      /* SMI_CMD: none */
    add_zeroes(t, 4); /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
    add32(t, base);   /* PM1a_EVT_BLK */
    add32(t, 0);
    add32(t, base + 4); /* PM1a_CNT_BLK */
    add32(t, 0);
    add32(t, 0);           /* PM2_CNT_BLK */
    add32(t, base + 8);    /* PM_TMR_BLK */
    add32(t, base + 0x20); /* GPE0_BLK */
    add32(t, 0);           /* GPE1_BLK */
    add8(t, 4);            /* PM1_EVT_LEN */
    add8(t, 2);            /* PM1_CNT_LEN */
    add8(t, 0);            /* PM2_CNT_LEN */
    add8(t, 4);            /* PM_TMR_LEN */
    add8(t, 16);           /* GPE0_BLK_LEN */
    add8(t, 0);            /* GPE1_BLK_LEN */
    add8(t, 0);            /* GPE1_BASE */
    add8(t, 0);            /* CST_CNT */
    add16(t, 0xfff);       /* P_LVL2_LAT: no C2 */
    add16(t, 0xfff);       /* P_LVL3_LAT: no C3 */
    add16(t, 0);           /* FLUSH_SIZE: WBINVD works */
    add16(t, 0);           /* FLUSH_STRIDE */
    add8(t, 0);            /* DUTY_OFFSET */
    add8(t, 0);            /* DUTY_WIDTH */
    add8(t, 0);            /* DAY_ALRM */
    add8(t, 0);            /* MON_ALRM */
    add8(t, 0x32);         /* CENTURY: CMOS byte */
    add16(t, IAPC_LEGACY_DEVICES | (config->vga ? 0 : IAPC_NO_VGA) |
                 (config->i8042 ? IAPC_8042 : 0) | (config->no_rtc ? IAPC_NO_RTC : 0));
    add8(t, 0);
    add32(t, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET_REG | FADT_PLATFORM_CLOCK);
    if (config->chipset == ACPI_MICROVM) {
        add_gas_io(t, PORT92, 8, 1);
        add8(t, PORT92_RESET);
    } else {
        add_gas_io(t, Q35_RESET_PORT, 8, 1);
        add8(t, Q35_RESET_VALUE);
    }
    add_zeroes(t, 3);
    add64(t, facs); /* X_FIRMWARE_CTRL */
    add64(t, dsdt); /* X_DSDT */
    add_gas_io(t, base, 32, 2);
    add_gas_io(t, 0, 0, 0);
    add_gas_io(t, (uint16_t)(base + 4), 16, 2);
    add_gas_io(t, 0, 0, 0);
    add_gas_io(t, 0, 0, 0);
    add_gas_io(t, (uint16_t)(base + 8), 32, 3);
    add_gas_io(t, (uint16_t)(base + 0x20), 128, 1);
    add_gas_io(t, 0, 0, 0);
    g_assert(t->len == FADT_BYTES);
    maker_set(b, t);
    gpa_t addr = table_place(b, t, true);
    links_add(b, addr, 36, 2, 4);
    links_add(b, addr, 132, 2, 8);
    linked_add(b, addr);
}

/* Interrupt source override (5.2.12.5). flags 0: as the bus says; 0xd: active high, level. */
static void add_override(GByteArray *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    add8(t, 2);
    add8(t, 10);
    add8(t, 0);
    add8(t, irq);
    add32(t, gsi);
    add16(t, flags);
}

static void madt_place(struct builder *b, const struct acpi_config *config)
{
    GByteArray *t = table_new("APIC", 3);

    add32(t, Q35_LAPIC);
    add32(t, !config->no_pic); /* PCAT_COMPAT: a pair of 8259s too */
    for (unsigned i = 0; i < config->n_cpus; i++) {
        add8(t, 0); /* processor local APIC */
        add8(t, 8);
        add8(t, (uint8_t)i);
        add8(t, (uint8_t)config->apic_id[i]);
        add32(t, !config->cpu_present || config->cpu_present[i]); /* enabled */
    }
    add8(t, 1); /* I/O APIC */
    add8(t, 12);
    add8(t, 0);
    add8(t, 0);
    add32(t, Q35_IOAPIC);
    add32(t, 0);
    add_override(t, 0, 2, 0);
    add_override(t, 5, 5, 0xd);
    add_override(t, 9, 9, 0xd);
    add_override(t, 10, 10, 0xd);
    add_override(t, 11, 11, 0xd);
    add8(t, 4); /* local APIC NMI: LINT1 of all */
    add8(t, 6);
    add8(t, 0xff);
    add16(t, 0);
    add8(t, 1);
    table_place(b, t, true);
}

static void mcfg_place(struct builder *b)
{
    GByteArray *t = table_new("MCFG", 1);

    add64(t, 0);
    add64(t, Q35_ECAM);
    add16(t, 0); /* segment */
    add8(t, 0);  /* buses 0..255 */
    add8(t, 255);
    add32(t, 0);
    table_place(b, t, true);
}

static void hpet_place(struct builder *b)
{
    GByteArray *t = table_new("HPET", 1);

    add32(t, 0x8086a201); /* the low half of the capabilities register */
    add8(t, 0);           /* generic address: memory */
    add8(t, 0);
    add8(t, 0);
    add8(t, 0);
    add64(t, Q35_HPET);
    add8(t, 0);  /* HPET number */
    add16(t, 0); /* minimum tick in periodic mode */
    add8(t, 0);
    table_place(b, t, true);
}

/* Windows ACPI Emulated Devices Table: one read of the PM timer is enough. */
static void waet_place(struct builder *b)
{
    GByteArray *t = table_new("WAET", 1);

    add32(t, 1u << 1);
    table_place(b, t, true);
}

static void ssdt_place(struct builder *b, const struct acpi_config *config,
                       void (*fill)(GByteArray *, const struct acpi_config *))
{
    GByteArray *t = table_new("SSDT", 2);

    fill(t, config);
    table_place(b, t, true);
}

/* Which node processors and memory belong to (5.2.16). */
static void srat_place(struct builder *b, const struct acpi_config *config)
{
    GByteArray *t = table_new("SRAT", 1);

    add32(t, 1);
    add64(t, 0);
    for (unsigned i = 0; i < config->n_cpus; i++) {
        add8(t, 0); /* processor local APIC affinity */
        add8(t, 16);
        add8(t, config->numa_node_of_cpu[i]);
        add8(t, (uint8_t)config->apic_id[i]);
        add32(t, 1); /* enabled */
        add64(t, 0);
    }
    for (unsigned i = 0; i < config->n_ranges; i++) {
        const struct acpi_memory_range *r = &config->range[i];

        add8(t, 1); /* memory affinity */
        add8(t, 40);
        add32(t, r->node);
        add16(t, 0);
        add64(t, r->base);
        add64(t, r->bytes);
        add32(t, 0);
        add32(t, r->hotplug ? 3 : 1); /* enabled, hot pluggable */
        add64(t, 0);
    }
    table_place(b, t, true);
}

/* How far nodes are from one another (5.2.17). */
static void slit_place(struct builder *b, const struct acpi_config *config)
{
    GByteArray *t = table_new("SLIT", 1);

    add64(t, config->n_nodes);
    g_byte_array_append(t, config->distance, config->n_nodes * config->n_nodes);
    table_place(b, t, true);
}

static void hotplug_place(struct builder *b, const struct acpi_config *config)
{
    ssdt_place(b, config, acpi_add_cpus);
    if (config->cpu_hotplug_port) {
        aml_place(b, ssdt_cpus_aml_code, sizeof(ssdt_cpus_aml_code), true);
    }
    if (config->n_memory_slots) {
        ssdt_place(b, config, acpi_add_memory_slots);
        aml_place(b, ssdt_memory_aml_code, sizeof(ssdt_memory_aml_code), true);
    }
    if (config->pci_hotplug_port) {
        ssdt_place(b, config, acpi_add_pci_slots);
        aml_place(b, ssdt_pcihp_aml_code, sizeof(ssdt_pcihp_aml_code), true);
    }
}

static void root_place(struct builder *b)
{
    GByteArray *rsdt = table_new("RSDT", 1);
    GByteArray *xsdt = table_new("XSDT", 1);

    for (unsigned i = 0; i < b->n; i++) {
        add32(rsdt, (uint32_t)b->table[i]);
        add64(xsdt, b->table[i]);
    }
    maker_set(b, rsdt);
    maker_set(b, xsdt);
    gpa_t rsdt_addr = table_place(b, rsdt, false);
    gpa_t xsdt_addr = table_place(b, xsdt, false);
    links_add(b, rsdt_addr, HEADER_BYTES, b->n, 4);
    linked_add(b, rsdt_addr);
    links_add(b, xsdt_addr, HEADER_BYTES, b->n, 8);
    linked_add(b, xsdt_addr);

    uint8_t *rsdp = b->out->data;
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, OEM_ID, 6);
    rsdp[15] = 2; /* revision */
    put_le32(rsdp + 16, (uint32_t)rsdt_addr);
    put_le32(rsdp + 20, RSDP_BYTES);
    put_le64(rsdp + 24, xsdt_addr);
    checksum_set(rsdp, 20, 8);
    checksum_set(rsdp, RSDP_BYTES, 32);
}

static gpa_t dsdt_place(struct builder *b, enum acpi_chipset chipset)
{
    switch (chipset) {
    case ACPI_Q35:
        return aml_place(b, dsdt_aml_code, sizeof(dsdt_aml_code), false);
    case ACPI_I440FX:
        return aml_place(b, dsdt_pc_aml_code, sizeof(dsdt_pc_aml_code), false);
    default:
        return aml_place(b, dsdt_microvm_aml_code, sizeof(dsdt_microvm_aml_code), false);
    }
}

static void user_tables_find_slic(struct builder *b, const GPtrArray *tables)
{
    for (guint i = 0; tables && i < tables->len && !b->slic; i++) {
        const uint8_t *table = g_bytes_get_data(tables->pdata[i], NULL);

        b->slic = memcmp(table, "SLIC", 4) == 0 ? table : NULL;
    }
}

static void user_tables_place(struct builder *b, const GPtrArray *tables)
{
    for (guint i = 0; tables && i < tables->len; i++) {
        gsize length;
        const uint8_t *table = g_bytes_get_data(tables->pdata[i], &length);

        aml_place(b, table, length, true);
    }
}

static void tables_place(struct builder *b, const struct acpi_config *config)
{
    user_tables_find_slic(b, config->user_tables);
    add_zeroes(b->out, RSDP_BYTES);
    gpa_t facs = facs_place(b);
    gpa_t dsdt = dsdt_place(b, config->chipset);
    fadt_place(b, config, facs, dsdt);
    madt_place(b, config);
    if (config->chipset == ACPI_Q35) {
        mcfg_place(b);
    }
    if (config->chipset == ACPI_MICROVM && !config->no_com1) {
        aml_place(b, ssdt_com1_aml_code, sizeof(ssdt_com1_aml_code), true);
    }
    if (config->chipset == ACPI_MICROVM && !config->no_rtc) {
        aml_place(b, ssdt_rtc_aml_code, sizeof(ssdt_rtc_aml_code), true);
    }
    if (config->hpet) {
        hpet_place(b);
        aml_place(b, ssdt_hpet_aml_code, sizeof(ssdt_hpet_aml_code), true);
    }
    if (config->chipset != ACPI_MICROVM) {
        waet_place(b);
    }
    hotplug_place(b, config);
    if (config->n_ranges) {
        srat_place(b, config);
    }
    if (config->distance) {
        slit_place(b, config);
    }
    if (config->pvpanic_port) {
        pvpanic_place(b, config->pvpanic_port);
    }
    if (config->s3) {
        aml_place(b, ssdt_s3_aml_code, sizeof(ssdt_s3_aml_code), true);
    }
    if (config->s4) {
        aml_place(b, ssdt_s4_aml_code, sizeof(ssdt_s4_aml_code), true);
    }
    if (config->generation) {
        generation_place(b, config);
    }
    user_tables_place(b, config->user_tables);
    root_place(b);
}

static void builder_init(struct builder *b, gpa_t base)
{
    *b = (struct builder){.out = g_byte_array_new(),
                          .base = base,
                          .links = g_array_new(FALSE, FALSE, sizeof(struct link)),
                          .linked = g_array_new(FALSE, FALSE, sizeof(struct linked_table))};
}

/* All but the tables themselves. */
static void builder_finish(struct builder *b)
{
    g_array_unref(b->links);
    g_array_unref(b->linked);
}

GByteArray *acpi_build(const struct acpi_config *config, gpa_t base)
{
    struct builder b;

    builder_init(&b, base);
    tables_place(&b, config);
    builder_finish(&b);
    return b.out;
}

/* ---------------------------------------------------------------- for firmware */

#define LOADER_ENTRY_BYTES   128
#define LOADER_FILE_BYTES    56
#define LOADER_ALLOCATE      1
#define LOADER_ADD_POINTER   2
#define LOADER_ADD_CHECKSUM  3
#define LOADER_WRITE_POINTER 4
#define LOADER_ZONE_HIGH     1
#define LOADER_ZONE_FSEG     2

static uint8_t *loader_entry(GByteArray *loader, uint32_t command, const char *file)
{
    uint8_t *entry;

    add_zeroes(loader, LOADER_ENTRY_BYTES);
    entry = loader->data + loader->len - LOADER_ENTRY_BYTES;
    put_le32(entry, command);
    g_strlcpy((char *)entry + 4, file, LOADER_FILE_BYTES);
    return entry + 4 + LOADER_FILE_BYTES;
}

static void loader_allocate(GByteArray *loader, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *rest = loader_entry(loader, LOADER_ALLOCATE, file);

    put_le32(rest, align);
    rest[4] = zone;
}

/* The address at `at` in file is one within the tables. */
static void loader_pointer(GByteArray *loader, const char *file, uint32_t at, uint8_t size)
{
    uint8_t *rest = loader_entry(loader, LOADER_ADD_POINTER, file);

    g_strlcpy((char *)rest, ACPI_FILE_TABLES, LOADER_FILE_BYTES);
    put_le32(rest + LOADER_FILE_BYTES, at);
    rest[LOADER_FILE_BYTES + 4] = size;
}

static void loader_checksum(GByteArray *loader, const char *file, uint32_t at, uint32_t start,
                            uint32_t length)
{
    uint8_t *rest = loader_entry(loader, LOADER_ADD_CHECKSUM, file);

    put_le32(rest, at);
    put_le32(rest + 4, start);
    put_le32(rest + 8, length);
}

/* The address that the tables have, and what is at `at` in them, goes into a file of ours. */
static void loader_write_pointer(GByteArray *loader, const char *file, uint32_t at)
{
    uint8_t *rest = loader_entry(loader, LOADER_WRITE_POINTER, file);

    g_strlcpy((char *)rest, ACPI_FILE_TABLES, LOADER_FILE_BYTES);
    put_le32(rest + LOADER_FILE_BYTES, 0);
    put_le32(rest + LOADER_FILE_BYTES + 4, at);
    rest[LOADER_FILE_BYTES + 8] = 8;
}

static GByteArray *loader_make(const struct builder *b, const struct acpi_config *config)
{
    GByteArray *loader = g_byte_array_new();

    loader_allocate(loader, ACPI_FILE_TABLES, 64, LOADER_ZONE_HIGH);
    loader_allocate(loader, ACPI_FILE_RSDP, 16, LOADER_ZONE_FSEG);
    for (guint i = 0; i < b->links->len; i++) {
        const struct link *link = &g_array_index(b->links, struct link, i);

        loader_pointer(loader, ACPI_FILE_TABLES, link->at, link->size);
    }
    for (guint i = 0; i < b->linked->len; i++) {
        const struct linked_table *t = &g_array_index(b->linked, struct linked_table, i);

        loader_checksum(loader, ACPI_FILE_TABLES, t->at + 9, t->at, t->length);
    }
    if (config->generation) {
        loader_write_pointer(loader, ACPI_FILE_GENERATION, *config->generation_at);
    }
    loader_pointer(loader, ACPI_FILE_RSDP, 16, 4);
    loader_pointer(loader, ACPI_FILE_RSDP, 24, 8);
    loader_checksum(loader, ACPI_FILE_RSDP, 8, 0, 20);
    loader_checksum(loader, ACPI_FILE_RSDP, 32, 0, RSDP_BYTES);
    return loader;
}

/* A sum that firmware is told to make is of bytes that hold no sum yet. */
static void sums_clear(struct builder *b, GByteArray *rsdp)
{
    for (guint i = 0; i < b->linked->len; i++) {
        b->out->data[g_array_index(b->linked, struct linked_table, i).at + 9] = 0;
    }
    rsdp->data[8] = 0;
    rsdp->data[32] = 0;
}

void acpi_build_files(const struct acpi_config *config, struct acpi_files *files)
{
    struct builder b;

    builder_init(&b, 0);
    tables_place(&b, config);
    files->loader = loader_make(&b, config);
    files->rsdp = g_byte_array_append(g_byte_array_new(), b.out->data, RSDP_BYTES);
    memset(b.out->data, 0, RSDP_BYTES); /* there is one, and it is in its own file */
    files->tables = b.out;
    sums_clear(&b, files->rsdp);
    builder_finish(&b);
}

void acpi_files_clear(struct acpi_files *files)
{
    g_byte_array_unref(files->tables);
    g_byte_array_unref(files->rsdp);
    g_byte_array_unref(files->loader);
}

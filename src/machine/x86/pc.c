/*
 * What the PC boards share: memory, ROM, interrupts, timers, how they start and sleep. The chipset
 * around the PCI host bridge is each board's own (struct pc_chipset).
 *
 * A -kernel is started without firmware (unless that is asked to do it), and what that does before
 * it starts a system is done here at every reset: ACPI tables and BIOS data are put into RAM, then
 * the kernel with what its boot protocol wants, and vCPU 0 is set to its entry point. With firmware
 * none of that is done: the image is mapped below 4 GiB (its last 128 KiB also below 1 MiB), told
 * of the machine by fw_cfg and CMOS (pc-firmware.c), and vCPU 0 starts at the reset vector. With
 * neither, vCPU 0 finds a HLT there, as a PC without anything to boot ends.
 *
 * What a guest would miss: no DMA controller, no parallel or floppy ports, no system management
 * mode.
 */
#include "machine/x86/pc-priv.h"

#include "cpu/x86/cpuid.h"
#include "cpu/x86/state.h"
#include "devices/acpi-cpuhp.h"
#include "devices/acpi-pm.h"
#include "devices/hpet.h"
#include "devices/ioapic.h"
#include "devices/isa/ferr.h"
#include "devices/isa/i8042.h"
#include "devices/isa/i8254.h"
#include "devices/isa/i8259.h"
#include "devices/isa/mc146818rtc.h"
#include "devices/isa/port92.h"
#include "devices/isa/pvpanic.h"
#include "devices/pflash.h"
#include "devices/vmgenid.h"
#include "machine/x86/bios-data.h"
#include "machine/x86/boot-priv.h"
#include "machine/x86/q35-map.h"
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CMOS_SHUTDOWN_STATUS 0x0f
#define SHUTDOWN_S3_RESUME   0xfe /* as QEMU's firmware expects it */

#define ROM_MAX_BYTES        (16u << 20)
#define ROM_ALIAS_BYTES      (128u << 10)

/* ---------------------------------------------------------------- interrupts */

static void a20_set(void *opaque, int n, bool level)
{
    cpus_set_a20(opaque, level);
}

static void isa_irq_set(void *opaque, int n, bool level)
{
    struct pc *q = opaque;

    if (q->pic) {
        i8259_set_irq(q->pic, n, level);
    }
    ioapic_set_irq(q->ioapic, n == 0 ? 2 : n, level); /* the MADT's override says the same */
}

static void pic_intr_set(void *opaque, int n, bool level)
{
    struct machine *m = opaque;
    m->cpus->accel->set_extint(m->cpus, level);
}

static void send_msi(struct device_env *env, gpa_t addr, uint32_t data)
{
    struct machine *m = env->system_opaque;
    m->cpus->accel->send_msi(m->cpus, addr, data);
}

static bool irqfd_set(struct device_env *env, int fd, gpa_t addr, uint32_t data)
{
    struct machine *m = env->system_opaque;
    return m->cpus->accel->irqfd_set(m->cpus, fd, addr, data);
}

static void irqfd_clear(struct device_env *env, int fd)
{
    struct machine *m = env->system_opaque;
    m->cpus->accel->irqfd_clear(m->cpus, fd);
}

static int pic_ack(void *opaque)
{
    struct machine *m = opaque;
    struct pc *q = m->board_data;
    return q->pic ? i8259_ack(q->pic) : -1;
}

static void eoi(void *opaque, uint8_t vector)
{
    struct machine *m = opaque;
    struct pc *q = m->board_data;
    ioapic_eoi(q->ioapic, vector);
}

static void set_ferr(void *opaque, bool asserted)
{
    struct machine *m = opaque;
    struct pc *q = m->board_data;
    ferr_set(q->ferr, asserted);
}

static const struct cpus_hooks pc_hooks = {
    .triple_fault = machine_triple_fault,
    .internal_error = machine_internal_error,
    .host_error = machine_host_error,
    .crash = machine_crash,
    .debug = machine_debug_stop,
    .ferr = set_ferr,
    .pic_ack = pic_ack,
    .eoi = eoi,
};

/* ---------------------------------------------------------------- memory */

/* Each node's part of the RAM is from where its back end is. */
static bool numa_bind(const struct numa_config *numa, struct ram_block *ram, GError **error)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < numa->n; i++) {
        if (!ram_block_bind(ram, at, numa->node[i].bytes, &numa->node[i].place, error)) {
            return false;
        }
        at += numa->node[i].bytes;
    }
    return true;
}

static bool ram_init(struct machine *m, struct pc *q, GError **error)
{
    uint64_t bytes = m->config->ram_bytes;

    q->low_bytes = bytes > q->chipset->ram_hole ? q->chipset->ram_split : bytes;
    q->high_bytes = bytes - q->low_bytes;
    q->ram = ram_block_new_backed("ram", bytes, &m->config->ram_backing, error);
    if (!q->ram || !numa_bind(&m->config->numa, q->ram, error)) {
        return false;
    }
    q->low = (struct region){
        .name = "ram-640k", .kind = REGION_RAM, .size = Q35_LOW_RAM_END, .ram = q->ram};
    /* A display has its window there; where there is none the chipset leaves the memory in sight.
     */
    q->behind_vga = (struct region){.name = "ram-vga",
                                    .kind = REGION_RAM,
                                    .size = Q35_SHADOW - Q35_LOW_RAM_END,
                                    .ram = q->ram,
                                    .ram_offset = Q35_LOW_RAM_END};
    q->extended = (struct region){.name = "ram-low",
                                  .kind = REGION_RAM,
                                  .size = q->low_bytes - HIGH_RAM,
                                  .ram = q->ram,
                                  .ram_offset = HIGH_RAM};
    q->high = (struct region){.name = "ram-high",
                              .kind = REGION_RAM,
                              .size = q->high_bytes,
                              .ram = q->ram,
                              .ram_offset = q->low_bytes};
    address_space_map(m->mem, 0, &q->low, 0);
    address_space_map(m->mem, Q35_LOW_RAM_END, &q->behind_vga, -1);
    if (q->low_bytes > HIGH_RAM) {
        address_space_map(m->mem, HIGH_RAM, &q->extended, 0);
    }
    if (q->high_bytes) {
        address_space_map(m->mem, Q35_HIGH_RAM, &q->high, 0);
    }
    return true;
}

/* Behind the RAM, whole GiB: room for what may be plugged in, and for each slot and what has none
 * one GiB more, so that nobody has to look for a place. */
static bool memory_slots_init(struct machine *m, struct pc *q, GError **error)
{
    const struct machine_config *config = m->config;
    const uint64_t gib = 1ull << 30;
    uint64_t top;

    if (config->max_ram_bytes <= config->ram_bytes) {
        return true;
    }
    q->memory.base = (Q35_HIGH_RAM + q->high_bytes + gib - 1) & ~(gib - 1);
    q->memory.limit = config->max_ram_bytes - config->ram_bytes;
    q->memory.bytes = q->memory.limit + (config->ram_slots + 1) * gib;
    q->memory.n = config->ram_slots;
    q->memory.n_nodes = config->numa.n;
    top = q->memory.base + q->memory.bytes;
    if (top < q->memory.base || top > 1ull << m->cpu_model->phys_bits) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "maxmem: memory up to 0x%" PRIx64
                    " does not fit into the %u bits of a physical address that the CPU has",
                    top, m->cpu_model->phys_bits);
        return false;
    }
    m->env.memory_slots = &q->memory;
    return true;
}

static bool rom_read(const char *path, struct ram_block **rom, GError **error)
{
    struct boot_file file = {.fd = open(path, O_RDONLY | O_CLOEXEC), .path = (char *)path};
    struct stat st;
    bool ok = false;

    if (file.fd < 0 || fstat(file.fd, &st) < 0) {
        g_set_error(error, MACHINE_ERROR, 0, "firmware '%s': %s", path, g_strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > ROM_MAX_BYTES ||
               st.st_size % 4096 != 0) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "firmware '%s': %lld bytes: it must be a file of whole 4 KiB pages, at most "
                    "%u MiB",
                    path, (long long)st.st_size, ROM_MAX_BYTES >> 20);
    } else {
        *rom = ram_block_new("rom", (uint64_t)st.st_size, error);
        ok = *rom && boot_file_read(&file, 0, (*rom)->host, (size_t)st.st_size, error);
    }
    if (file.fd >= 0) {
        close(file.fd);
    }
    return ok;
}

/* What is at the reset vector when nothing else is: cli; hlt; jmp to the hlt. */
static bool rom_make(struct ram_block **rom, GError **error)
{
    static const uint8_t stop[] = {0xfa, 0xf4, 0xeb, 0xfd};

    *rom = ram_block_new("rom", 4096, error);
    if (*rom) {
        memcpy((*rom)->host + 0xff0, stop, sizeof(stop));
    }
    return *rom != NULL;
}

/* What is read below 1 MiB where RAM is not: the last 128 KiB of the firmware. */
static void rom_alias_init(struct machine *m, struct pc *q, struct ram_block *rom)
{
    uint64_t alias = MIN(rom->size, ROM_ALIAS_BYTES);

    q->rom_alias = (struct region){.name = "rom-alias",
                                   .kind = REGION_ROM,
                                   .size = alias,
                                   .ram = rom,
                                   .ram_offset = rom->size - alias};
    q->rom_alias_base = HIGH_RAM - alias;
    address_space_map(m->mem, q->rom_alias_base, &q->rom_alias, 1);
}

/* The id of the -drive, or the node name of -machine pflashN=; NULL: there is no such flash. */
static const char *flash_name(struct machine *m, unsigned unit)
{
    struct drive *drive = m->block ? block_drive_at(m->block, DRIVE_PFLASH, 0, (int)unit) : NULL;

    return m->config->pflash[unit] ? m->config->pflash[unit] : drive ? drive->id : NULL;
}

/* Flash memory one below the other, the first with the reset vector. */
static bool flash_init(struct machine *m, struct pc *q, GError **error)
{
    gpa_t last = UINT32_MAX;

    for (unsigned i = 0; i < MACHINE_FLASHES; i++) {
        const char *name = flash_name(m, i);
        struct device *flash;

        if (!name) {
            return true;
        }
        flash = pflash_create(&m->env, name, last, error);
        if (!flash) {
            g_prefix_error(error, "pflash%u: ", i);
            return false;
        }
        last -= pflash_region(flash)->size;
        if (i == 0) {
            q->has_flash = true;
            rom_alias_init(m, q, pflash_region(flash)->ram);
        }
    }
    return true;
}

static bool rom_init(struct machine *m, struct pc *q, GError **error)
{
    const char *path = m->config->firmware;
    bool ok = flash_init(m, q, error);

    if (!ok || q->has_flash) {
        return ok;
    }
    ok = path ? rom_read(path, &q->rom, error) : rom_make(&q->rom, error);
    if (!ok) {
        return false;
    }
    uint64_t bytes = q->rom->size;
    q->rom_top = (struct region){.name = "rom", .kind = REGION_ROM, .size = bytes, .ram = q->rom};
    address_space_map(m->mem, Q35_HIGH_RAM - bytes, &q->rom_top, 1);
    if (path) {
        rom_alias_init(m, q, q->rom);
    }
    return true;
}

/* ---------------------------------------------------------------- what to start */

static unsigned memory_map(const struct pc *q, struct e820_entry *map)
{
    const struct e820_entry entry[] = {
        {0, Q35_EBDA, E820_RAM},
        {Q35_EBDA, Q35_LOW_RAM_END - Q35_EBDA, E820_RESERVED},
        {Q35_TABLES, Q35_TABLES_BYTES, E820_RESERVED},
        {HIGH_RAM, q->low_bytes - HIGH_RAM, E820_RAM},
        {Q35_ECAM, q->chipset->ecam ? Q35_ECAM_BYTES : 0, E820_RESERVED},
        {Q35_HIGH_RAM, q->high_bytes, E820_RAM},
    };
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(entry); i++) {
        if (entry[i].size) {
            map[n++] = entry[i];
        }
    }
    return n;
}

static bool image_init(struct machine *m, struct pc *q, GError **error)
{
    struct boot_request request = {
        .kernel = m->config->kernel,
        .initrd = m->config->initrd,
        .append = m->config->append,
        .low_top = q->low_bytes,
        .rsdp = m->config->no_acpi ? 0 : Q35_TABLES,
    };

    request.n_e820 = memory_map(q, request.e820);
    q->image = boot_image_new(&request, error);
    return q->image != NULL;
}

static bool start_vcpu(struct machine *m, const struct boot_image *image, GError **error)
{
    struct vcpu *vcpu = m->cpus->vcpu[0];
    struct cpu_state *state = g_new0(struct cpu_state, 1);
    bool ok;

    vcpu->ops->get(vcpu, state, ST_ALL);
    boot_image_start(image, state);
    ok = vcpu->ops->set(vcpu, state, ST_REGS | ST_SREGS | ST_MP, error);
    g_free(state);
    return ok;
}

bool pc_reset(struct machine *m, GError **error)
{
    struct pc *q = m->board_data;
    struct device *generation = devices_find_class(&m->env, &vmgenid_class);
    bool fresh = !q->laid_out;

    pc_cmos_set(q, CMOS_SHUTDOWN_STATUS, 0);
    if (q->chipset->bare && q->rom_alias_base) {
        address_space_write(m->mem, q->rom_alias_base,
                            q->rom_alias.ram->host + q->rom_alias.ram_offset, q->rom_alias.size);
    }
    q->laid_out = true;
    if (fresh ? !pc_firmware_finish(m, error) : !pc_boot_again(m, error)) {
        return false;
    }
    if (!q->image) {
        return true;
    }
    if ((fresh || q->cpu_hotplug) && !m->config->no_acpi) {
        g_clear_pointer(&q->tables, g_byte_array_unref);
        q->tables = pc_tables_make(m, error);
        if (!q->tables) {
            return false;
        }
    }
    bios_data_write(m->mem);
    address_space_write(m->mem, Q35_SMBIOS, q->smbios->data, q->smbios->len);
    if (q->tables) {
        address_space_write(m->mem, Q35_TABLES, q->tables->data, q->tables->len);
        if (generation) {
            vmgenid_place(generation, Q35_TABLES + q->generation_at);
        }
    }
    return boot_image_load(q->image, m->mem, fresh, error) && start_vcpu(m, q->image, error);
}

/* ---------------------------------------------------------------- sleep */

void pc_asleep(struct machine *m, bool asleep)
{
    struct pc *q = m->board_data;

    if (q->rtc) {
        mc146818rtc_asleep(q->rtc, asleep);
    }
    if (asleep) {
        pc_cmos_set(q, CMOS_SHUTDOWN_STATUS, SHUTDOWN_S3_RESUME);
        acpi_pm_sleeping(q->pm);
    }
}

static void rtc_alarm(void *opaque, int n, bool level)
{
    const struct pc *q = opaque;

    if (level) {
        acpi_pm_rtc_alarm(q->pm);
    }
}

/* vCPU 0 goes on in real mode at the guest's waking vector (ACPI 5.0, 5.2.10). */
static bool wake_vcpu(struct machine *m, uint32_t vector, GError **error)
{
    struct vcpu *vcpu = m->cpus->vcpu[0];
    struct cpu_state *state = g_new0(struct cpu_state, 1);
    bool ok;

    vcpu->ops->get(vcpu, state, ST_REGS | ST_SREGS);
    state->sregs.cs.selector = (uint16_t)(vector >> 4);
    state->sregs.cs.base = vector & ~0xfu;
    state->regs.rip = vector & 0xf;
    ok = vcpu->ops->set(vcpu, state, ST_REGS | ST_SREGS, error);
    g_free(state);
    return ok;
}

/* Memory is as the guest left it. With firmware that finds the way itself, from the reset vector,
 * by the shutdown status. */
bool pc_wake(struct machine *m, GError **error)
{
    struct pc *q = m->board_data;
    uint8_t word[4];
    uint32_t vector;

    acpi_pm_wake(q->pm);
    if (!q->image) {
        return true;
    }
    pc_cmos_set(q, CMOS_SHUTDOWN_STATUS, 0);
    address_space_read(m->mem, Q35_TABLES + ACPI_FACS + ACPI_FACS_WAKING_VECTOR, word, 4);
    vector = get_le32(word);
    if (vector == 0 || vector >= HIGH_RAM) {
        g_set_error(error, MACHINE_ERROR, 0, "the waking vector 0x%x is not below 1 MiB", vector);
        return false;
    }
    return wake_vcpu(m, vector, error);
}

/* ---------------------------------------------------------------- parts */

void pc_gsi_set(void *opaque, int n, bool level)
{
    struct pc *q = opaque;

    ioapic_set_irq(q->ioapic, n, level);
}

/* HPET legacy replacement: its timers 0 and 1 take the interrupts of the 8254 and the clock. */
static void hpet_legacy(void *opaque, bool on)
{
    struct pc *q = opaque;

    i8254_enable_irq(q->pit, !on);
    mc146818rtc_enable_irq(q->rtc, !on);
}

static bool interrupts_init(struct machine *m, struct pc *q, GError **error)
{
    struct device_env *env = &m->env;

    env->send_msi = send_msi;
    if (m->cpus->accel->irqfd_set) {
        env->irqfd_set = irqfd_set;
        env->irqfd_clear = irqfd_clear;
    }
    q->pic_intr = (struct irq_line){.set = pic_intr_set, .opaque = m};
    for (int i = 0; i < 16; i++) {
        env->isa_irq[i] = (struct irq_line){.set = isa_irq_set, .opaque = q, .n = i};
    }
    env->a20 = (struct irq_line){.set = a20_set, .opaque = m->cpus};
    return (m->config->no_pic || (q->pic = i8259_create(env, &q->pic_intr, error))) &&
           (q->ioapic = ioapic_create(env, error));
}

static bool timers_init(struct machine *m, struct pc *q, GError **error)
{
    struct device_env *env = &m->env;
    struct irq_line alarm = {.set = rtc_alarm, .opaque = q};
    struct hpet_wiring hpet = {
        .gsi = {.set = pc_gsi_set, .opaque = q}, .legacy = hpet_legacy, .legacy_opaque = q};

    if ((!m->config->no_pit && !(q->pit = i8254_create(env, &env->isa_irq[0], error))) ||
        (!m->config->no_rtc &&
         !(q->rtc = mc146818rtc_create(env, &env->isa_irq[8], m->config->rtc_base,
                                       m->config->rtc_clock, error)))) {
        return false;
    }
    if (q->rtc) {
        mc146818rtc_set_alarm(q->rtc, &alarm);
    }
    return m->config->no_hpet || q->chipset->bare || hpet_create(env, &hpet, error);
}

static bool chipset_init(struct machine *m, struct pc *q, GError **error)
{
    const struct pam_wiring pam = {.ram = q->ram,
                                   .rom = q->rom_alias_base ? &q->rom_alias : NULL,
                                   .rom_base = q->rom_alias_base,
                                   .open = m->config->kernel && !pc_has_firmware(m)};

    return q->chipset->init(m, q, &pam, error) &&
           (!q->memory.n || acpi_memhp_create(&m->env, q->pm, error)) &&
           (!q->cpu_hotplug ||
            acpi_cpuhp_create(&m->env, q->chipset->cpu_hotplug_port, q->pm, error));
}

static bool devices_init(struct machine *m, struct pc *q, GError **error)
{
    q->cpu_hotplug = m->cpus->max > m->cpus->n;
    if (!q->chipset->cpu_hotplug_port && (q->cpu_hotplug || q->memory.n)) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "machine '%s': neither CPUs nor memory can be plugged in later",
                    m->board->name);
        return false;
    }
    return interrupts_init(m, q, error) && timers_init(m, q, error) && chipset_init(m, q, error) &&
           (q->chipset->bare || i8042_create(&m->env, error)) && port92_create(&m->env, error) &&
           (q->ferr = ferr_create(&m->env, error)) && pc_firmware_init(m, error);
}

bool pc_has_firmware(const struct machine *m)
{
    return m->config->firmware || ((const struct pc *)m->board_data)->has_flash;
}

/* Whether the configuration leaves the board what it must have. */
static bool check_parts(const struct machine *m, const struct pc_chipset *chipset, GError **error)
{
    const struct machine_config *c = m->config;

    if (chipset->bare || !(c->no_pic || c->no_pit || c->no_rtc || c->no_serial)) {
        return true;
    }
    g_set_error(error, MACHINE_ERROR, 0,
                "machine '%s': pic, pit, rtc and isa-serial are always on; only microvm can be "
                "without",
                m->board->name);
    return false;
}

bool pc_init(struct machine *m, const struct pc_chipset *chipset, GError **error)
{
    struct pc *q = g_new0(struct pc, 1);

    m->board_data = q;
    q->chipset = chipset;
    if (!check_parts(m, chipset, error) || !ram_init(m, q, error) || !rom_init(m, q, error) ||
        !machine_create_cpus(m, &pc_hooks, error) || !memory_slots_init(m, q, error) ||
        !devices_init(m, q, error)) {
        return false;
    }
    return !m->config->kernel || m->config->kernel_by_firmware || image_init(m, q, error);
}

void pc_power_button(struct machine *m)
{
    struct pc *q = m->board_data;
    acpi_pm_power_button(q->pm);
}

void pc_finish(struct machine *m)
{
    struct pc *q = m->board_data;

    if (q) {
        boot_image_free(q->image);
        if (q->tables) {
            g_byte_array_unref(q->tables);
        }
        if (q->smbios) {
            g_byte_array_unref(q->smbios);
        }
        ram_block_free(q->ram);
        ram_block_free(q->rom);
        g_free(q);
    }
}

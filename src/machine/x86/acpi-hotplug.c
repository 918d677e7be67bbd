/*
 * What can be plugged in, in AML: an object for each PCI slot, memory slot and processor, with thin
 * methods that call those of ssdt-pcihp.asl, ssdt-memory.asl and ssdt-cpus.asl.
 */
#include "machine/x86/acpi-hotplug.h"

#include "machine/x86/aml.h"

#define NAME_BYTES 8

/* Method (name, args) { Return (method (number, Arg0...)) } */
static void add_method(GByteArray *out, const char *name, unsigned args, const char *method,
                       unsigned number, unsigned passed)
{
    size_t at = aml_method(out, name, args);

    aml_return_call(out, method);
    aml_int(out, number);
    for (unsigned i = 0; i < passed; i++) {
        aml_arg(out, i);
    }
    aml_close(out, at);
}

/* ---- PCI slots */

static void slot_name(char name[NAME_BYTES], unsigned slot)
{
    g_snprintf(name, NAME_BYTES, "S%02X_", slot << 3);
}

static void add_slot(GByteArray *out, unsigned slot)
{
    char name[NAME_BYTES];
    size_t device, method;

    slot_name(name, slot);
    device = aml_device(out, name);
    aml_name_int(out, "_ADR", (uint64_t)slot << 16);
    aml_name_int(out, "_SUN", slot);
    method = aml_method(out, "_EJ0", 1);
    aml_call(out, "\\_SB.PCEO");
    aml_int(out, 0);
    aml_int(out, slot);
    aml_close(out, method);
    aml_close(out, device);
}

void acpi_add_pci_slots(GByteArray *out, const struct acpi_config *config)
{
    size_t scope = aml_scope(out, "\\_SB.PCI0"), method, test;
    char name[NAME_BYTES], path[24];

    for (unsigned slot = 0; slot < 32; slot++) {
        if (config->pci_slots >> slot & 1) {
            add_slot(out, slot);
        }
    }
    aml_close(out, scope);
    scope = aml_scope(out, "\\_SB");
    aml_name_int(out, "PHPB", config->pci_hotplug_port);
    aml_name_int(out, "PCNB", 1);
    method = aml_method(out, "DVNT", 3);
    for (unsigned slot = 0; slot < 32; slot++) {
        if (config->pci_slots >> slot & 1) {
            slot_name(name, slot);
            g_snprintf(path, sizeof(path), "\\_SB.PCI0.%s", name);
            test = aml_if_arg_is(out, 1, slot);
            aml_notify_arg(out, path, 2);
            aml_close(out, test);
        }
    }
    aml_close(out, method);
    aml_close(out, scope);
}

/* ---- memory slots */

static void memory_name(char name[NAME_BYTES], unsigned slot)
{
    g_snprintf(name, NAME_BYTES, "MP%02X", slot);
}

static void add_memory_slot(GByteArray *out, unsigned slot)
{
    char name[NAME_BYTES];
    size_t device;

    memory_name(name, slot);
    device = aml_device(out, name);
    aml_name_eisa(out, "_HID", "PNP0C80");
    aml_name_int(out, "_UID", slot);
    add_method(out, "_STA", 0, "\\_SB.MHST", slot, 0);
    add_method(out, "_CRS", 0, "\\_SB.MHCR", slot, 0);
    add_method(out, "_PXM", 0, "\\_SB.MHPM", slot, 0);
    add_method(out, "_OST", 3, "\\_SB.MHOT", slot, 2);
    add_method(out, "_EJ0", 1, "\\_SB.MHEO", slot, 0);
    aml_close(out, device);
}

/* Method (name, 2) { If (Arg0 == number) { Notify (object, Arg1) } ... } */
static void add_notify(GByteArray *out, const char *name, unsigned n,
                       void (*object)(char name[NAME_BYTES], unsigned number))
{
    size_t method = aml_method(out, name, 2), test;
    char target[NAME_BYTES];

    for (unsigned i = 0; i < n; i++) {
        object(target, i);
        test = aml_if_arg_is(out, 0, i);
        aml_notify_arg(out, target, 1);
        aml_close(out, test);
    }
    aml_close(out, method);
}

void acpi_add_memory_slots(GByteArray *out, const struct acpi_config *config)
{
    size_t scope = aml_scope(out, "\\_SB");

    aml_name_int(out, "MHPB", config->memory_hotplug_port);
    aml_name_int(out, "MHPN", config->n_memory_slots);
    for (unsigned slot = 0; slot < config->n_memory_slots; slot++) {
        add_memory_slot(out, slot);
    }
    add_notify(out, "MHPT", config->n_memory_slots, memory_name);
    aml_close(out, scope);
}

/* ---- processors */

static void cpu_name(char name[NAME_BYTES], unsigned n)
{
    g_snprintf(name, NAME_BYTES, "C%03X", n);
}

static void add_cpu(GByteArray *out, const struct acpi_config *config, unsigned n)
{
    /* A local APIC entry as in the MADT (5.2.12.2). */
    const uint8_t apic[] = {0, 8, (uint8_t)n, (uint8_t)config->apic_id[n], 1, 0, 0, 0};
    char name[NAME_BYTES];
    size_t device;

    cpu_name(name, n);
    device = aml_device(out, name);
    aml_name_string(out, "_HID", "ACPI0007");
    aml_name_int(out, "_UID", n);
    if (config->numa_node_of_cpu) {
        aml_name_int(out, "_PXM", config->numa_node_of_cpu[n]);
    }
    if (config->cpu_hotplug_port) {
        add_method(out, "_STA", 0, "\\_SB.CHST", n, 0);
        aml_name_buffer(out, "_MAT", apic, sizeof(apic));
        add_method(out, "_OST", 3, "\\_SB.CHOT", n, 2);
        if (n > 0) {
            add_method(out, "_EJ0", 1, "\\_SB.CHEO", n, 0);
        }
    }
    aml_close(out, device);
}

void acpi_add_cpus(GByteArray *out, const struct acpi_config *config)
{
    size_t scope = aml_scope(out, "\\_SB");

    for (unsigned i = 0; i < config->n_cpus; i++) {
        add_cpu(out, config, i);
    }
    if (config->cpu_hotplug_port) {
        aml_name_int(out, "CHPB", config->cpu_hotplug_port);
        aml_name_int(out, "CHPN", config->n_cpus);
        add_notify(out, "CHPT", config->n_cpus, cpu_name);
    }
    aml_close(out, scope);
}

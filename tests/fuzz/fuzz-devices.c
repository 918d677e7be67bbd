/*
 * Hostile guests: the input is a list of register accesses to all devices of the PC, mixed with
 * steps of the clock, pauses and resets. Nothing may crash, hang or write outside guest RAM.
 *
 * A libFuzzer target with -DFUZZ; otherwise main() runs inputs from a fixed seed.
 */
#include "../machine/all-devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where there is something to poke. */
static const struct {
    bool mem;
    gpa_t base;
    uint32_t size;
} places[] = {
    {false, 0x20, 2},           {false, 0x40, 4},
    {false, 0x60, 5},           {false, 0x70, 2},
    {false, 0x92, 1},           {false, 0xa0, 2},
    {false, 0xe0, 10},          {false, 0x3f8, 8},
    {false, 0x4d0, 2},          {false, 0x501, 2},
    {false, 0x510, 12},         {false, 0x600, 128},
    {false, 0xcf8, 8},          {false, 0x2000, 24},
    {false, 0, 0x10000},        {true, 0xfec00000, 0x50},
    {true, 0xfed00000, 0x400},  {true, 0xb0000000, 0x1000},
    {true, 0xb00f8000, 0x1000}, {true, 0xff000000, 0x10000},
    {true, 0, BUS_RAM_BYTES},
};

static uint64_t take(const uint8_t **data, size_t *size, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n && *size; i++, (*data)++, (*size)--) {
        value = value << 8 | **data;
    }
    return value;
}

static void poke(struct bare_bus *bus, uint8_t what, const uint8_t **data, size_t *size)
{
    unsigned p = (unsigned)take(data, size, 1) % G_N_ELEMENTS(places),
             bytes = 1u << (what >> 1 & 3);
    struct address_space *as = places[p].mem ? bus->env.mem : bus->env.io;
    gpa_t addr = places[p].base + take(data, size, places[p].size > 256 ? 2 : 1) % places[p].size;

    if (!places[p].mem) {
        bytes = MIN(bytes, 4);
    }
    if (what & 1) {
        address_space_io_write(as, addr, take(data, size, bytes), bytes);
    } else {
        address_space_io_read(as, addr, bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct all_devices all;
    struct bare_bus *bus;

    all_devices_new(&all);
    bus = all.bus;
    while (size) {
        uint8_t what = (uint8_t)take(&data, &size, 1);

        if (what < 0xe0) {
            poke(bus, what, &data, &size);
        } else if (what < 0xf8) {
            bus_step(bus, (int64_t)take(&data, &size, 3));
        } else if (what < 0xfc) {
            bus_step(bus, (int64_t)take(&data, &size, 1) * NS_PER_MS);
        } else if (what < 0xfe) {
            i8259_ack(all.pic);
            ioapic_eoi(all.ioapic, (uint8_t)take(&data, &size, 1));
        } else {
            devices_pause(&bus->env);
            if (what == 0xff) {
                devices_reset(&bus->env, RESET_WARM);
            }
            devices_resume(&bus->env);
        }
        g_string_truncate(bus->requests, 0);
    }
    all_devices_free(&all);
    return 0;
}

#ifndef FUZZ
int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)g_ascii_strtoull(argv[1], NULL, 10) : 200;
    uint8_t input[8192];

    for (unsigned round = 0; round < rounds; round++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(round);

        for (size_t i = 0; i < sizeof(input); i++) {
            input[i] = (uint8_t)g_rand_int(rand);
        }
        LLVMFuzzerTestOneInput(input, sizeof(input));
    }
    return 0;
}
#endif

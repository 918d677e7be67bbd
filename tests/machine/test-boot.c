/* Boot loaders: what the three protocols put where, and what damaged files do. */
#include "machine/x86/boot.h"

#include "memory/address-space.h"
#include <elf.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define MIB 0x100000ull

static char *tmp_dir;

static char *write_file(const char *name, const void *bytes, size_t length)
{
    char *path = g_build_filename(tmp_dir, name, NULL);
    g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, bytes, (gssize)length, G_FILE_SET_CONTENTS_NONE,
                                           0600, NULL));
    return path;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, 8);
}

static struct boot_request request_for(const char *kernel, uint64_t ram)
{
    return (struct boot_request){
        .kernel = kernel,
        .low_top = ram,
        .rsdp = 0xe0000,
        .e820 = {{0, 0x9fc00, E820_RAM}, {MIB, ram - MIB, E820_RAM}},
        .n_e820 = 2,
    };
}

/* All pieces lie in RAM, apart from each other, and their data can be read. */
static void check_pieces(const struct boot_image *image, size_t ram_bytes)
{
    for (guint i = 0; i < image->pieces->len; i++) {
        const struct boot_piece *p = &g_array_index(image->pieces, struct boot_piece, i);
        g_assert_cmpuint(p->addr + p->mem_bytes, <=, ram_bytes);
        g_assert_cmpuint(p->data_bytes, <=, p->mem_bytes);
        g_autofree uint8_t *data = g_malloc(p->data_bytes);
        g_assert_true(boot_piece_read(p, 0, data, p->data_bytes, NULL));
        for (guint j = 0; j < i; j++) {
            const struct boot_piece *q = &g_array_index(image->pieces, struct boot_piece, j);
            g_assert_true(q->addr + q->mem_bytes <= p->addr || p->addr + p->mem_bytes <= q->addr);
        }
    }
}

/* RAM as the image fills it; address 0 is ram[0]. */
static uint8_t *lay_out(const struct boot_image *image, size_t ram_bytes)
{
    uint8_t *ram = g_malloc0(ram_bytes);

    check_pieces(image, ram_bytes);
    for (guint i = 0; i < image->pieces->len; i++) {
        const struct boot_piece *p = &g_array_index(image->pieces, struct boot_piece, i);
        g_assert_true(boot_piece_read(p, 0, ram + p->addr, p->mem_bytes, NULL));
    }
    return ram;
}

static void assert_refused(const struct boot_request *request, const char *needle)
{
    GError *error = NULL;
    struct boot_image *image = boot_image_new(request, &error);
    g_assert_null(image);
    g_assert_nonnull(error);
    if (!strstr(error->message, needle)) {
        g_error("'%s' does not contain '%s'", error->message, needle);
    }
    g_error_free(error);
}

/* ---------------------------------------------------------------- Linux */

#define BZ_PAYLOAD 0x4000

struct bz {
    uint8_t bytes[5 * 512 + BZ_PAYLOAD];
};

static struct bz bz_image(void)
{
    struct bz bz = {0};
    uint8_t *b = bz.bytes;
    b[0x1f1] = 4;
    put32(b + 0x1f4, BZ_PAYLOAD / 16);
    put16(b + 0x1fe, 0xaa55);
    b[0x200] = 0xeb;
    b[0x201] = 0x66;
    memcpy(b + 0x202, "HdrS", 4);
    put16(b + 0x206, 0x20f);
    b[0x211] = 1;
    put32(b + 0x214, 0x100000);
    put32(b + 0x22c, 0x7fffffff);
    put32(b + 0x230, 0x200000);
    b[0x234] = 1;
    put16(b + 0x236, 0x7f);
    put32(b + 0x238, 2047);
    put64(b + 0x258, 0x1000000);
    put32(b + 0x260, 0x800000);
    memset(b + 5 * 512, 0xc3, BZ_PAYLOAD);
    return bz;
}

static void test_linux(void)
{
    struct bz bz = bz_image();
    g_autofree char *kernel = write_file("vmlinuz", &bz, sizeof(bz));
    g_autofree char *initrd = write_file("initrd", "0123456789", 10);
    struct boot_request r = request_for(kernel, 64 * MIB);
    r.initrd = initrd;
    r.append = "console=ttyS0 quiet";
    struct boot_image *image = boot_image_new(&r, NULL);
    g_assert_nonnull(image);
    g_assert_cmpstr(image->protocol, ==, "linux");
    g_autofree uint8_t *ram = lay_out(image, 64 * MIB);

    g_assert_cmphex(image->regs.rip, ==, 0x1000200);
    g_assert_cmphex(ram[0x1000000], ==, 0xc3);
    const uint8_t *params = ram + image->regs.rsi;
    uint32_t v;
    g_assert_cmpint(memcmp(params + 0x202, "HdrS", 4), ==, 0);
    g_assert_cmphex(params[0x210], ==, 0xff);
    memcpy(&v, params + 0x228, 4);
    g_assert_cmpstr((char *)ram + v, ==, "console=ttyS0 quiet");
    memcpy(&v, params + 0x218, 4);
    g_assert_cmphex(v, ==, 64 * MIB - 4096);
    g_assert_cmpint(memcmp(ram + v, "0123456789", 10), ==, 0);
    memcpy(&v, params + 0x21c, 4);
    g_assert_cmpuint(v, ==, 10);
    memcpy(&v, params + 0x70, 4);
    g_assert_cmphex(v, ==, 0xe0000);
    g_assert_cmpuint(params[0x1e8], ==, 2);
    memcpy(&v, params + 0x2d0 + 20, 4);
    g_assert_cmphex(v, ==, MIB);

    /* The page tables must map code, parameters and initrd to themselves. */
    struct cpu_state *state = g_new0(struct cpu_state, 1);
    boot_image_start(image, state);
    const uint64_t probe[] = {0x1000200, image->regs.rsi, 0xfee00000};
    for (unsigned i = 0; i < G_N_ELEMENTS(probe); i++) {
        uint64_t e;
        memcpy(&e, ram + state->sregs.cr3 + 8 * (probe[i] >> 39), 8);
        g_assert_cmphex(e & 3, ==, 3);
        memcpy(&e, ram + (e & ~0xfffull) + 8 * (probe[i] >> 30 & 511), 8);
        g_assert_cmphex(e & 0x83, ==, 3);
        memcpy(&e, ram + (e & ~0xfffull) + 8 * (probe[i] >> 21 & 511), 8);
        g_assert_cmphex(e & 0x83, ==, 0x83);
        g_assert_cmphex(e & ~0xfffull, ==, probe[i] & ~0x1fffffull);
    }
    g_assert_true(state->sregs.cs.l);
    uint64_t descriptor;
    memcpy(&descriptor, ram + state->sregs.gdt.base + state->sregs.cs.selector, 8);
    g_assert_cmphex(descriptor, ==, 0x00af9b000000ffff);
    g_free(state);
    boot_image_free(image);
}

static void test_linux_32bit_entry(void)
{
    struct bz bz = bz_image();
    put16(bz.bytes + 0x236, 0);
    g_autofree char *kernel = write_file("vmlinuz", &bz, sizeof(bz));
    struct boot_request r = request_for(kernel, 64 * MIB);
    struct boot_image *image = boot_image_new(&r, NULL);
    struct cpu_state *state = g_new0(struct cpu_state, 1);

    boot_image_start(image, state);
    g_assert_cmphex(state->regs.rip, ==, 0x1000000);
    g_assert_cmphex(state->sregs.cr0, ==, CR0_PE | CR0_ET);
    g_assert_true(state->sregs.cs.db && !state->sregs.cs.l);
    g_free(state);
    boot_image_free(image);
}

static void test_linux_refused(void)
{
    struct bz bz = bz_image();
    g_autofree char *kernel = write_file("vmlinuz", &bz, sizeof(bz));
    g_autofree char *cut = write_file("cut", &bz, sizeof(bz) - 100);
    g_autofree char *short_header = write_file("short", &bz, 0x210);
    g_autofree char *missing = g_build_filename(tmp_dir, "missing", NULL);
    struct boot_request r = request_for(cut, 64 * MIB);

    assert_refused(&r, "truncated: its header announces 18944 bytes, the file has 18844");
    r.kernel = short_header;
    assert_refused(&r, "truncated");
    r.kernel = missing;
    assert_refused(&r, "missing': No such file");
    r.kernel = tmp_dir;
    assert_refused(&r, "not a regular file");
    r.kernel = kernel;
    r.initrd = missing;
    assert_refused(&r, "initrd '");
    r = request_for(kernel, 16 * MIB);
    assert_refused(&r, "needs 24 MiB of RAM, the machine has 16 MiB");

    r = request_for(kernel, 25 * MIB);
    g_autofree uint8_t *big = g_malloc0(2 * MIB);
    g_autofree char *initrd = write_file("big", big, 2 * MIB);
    r.initrd = initrd;
    assert_refused(&r, "2097152 bytes do not fit");
    r.initrd = NULL;
    g_autofree char *line = g_strnfill(2048, 'x');
    r.append = line;
    assert_refused(&r, "2048 characters");

    r = request_for(kernel, 64 * MIB);
    put16(bz.bytes + 0x206, 0x209);
    g_free(write_file("vmlinuz", &bz, sizeof(bz)));
    assert_refused(&r, "2.9 is too old");
    bz = bz_image();
    put64(bz.bytes + 0x258, 0xfffffffffffff000ull);
    g_free(write_file("vmlinuz", &bz, sizeof(bz)));
    assert_refused(&r, "impossible load address");

    g_autofree char *text = write_file("text", "#!/bin/sh\necho hello\n", 21);
    r.kernel = text;
    assert_refused(&r, "not a kernel");
    g_autofree char *empty = write_file("empty", "", 0);
    r.kernel = empty;
    assert_refused(&r, "not a kernel");
}

/* Every single-byte change and every truncation of the header: an image within RAM or an error. */
static void test_linux_mutations(void)
{
    for (unsigned at = 0x1f0; at < 0x270; at++) {
        for (unsigned value = 0; value < 256; value += 51) {
            struct bz bz = bz_image();
            bz.bytes[at] = (uint8_t)value;
            g_autofree char *kernel = write_file("mutant", &bz, sizeof(bz));
            struct boot_request r = request_for(kernel, 64 * MIB);
            struct boot_image *image = boot_image_new(&r, NULL);
            if (image) {
                check_pieces(image, 64 * MIB);
            }
            boot_image_free(image);
        }
    }
    for (unsigned length = 0; length < 0x300; length += 7) {
        struct bz bz = bz_image();
        g_autofree char *kernel = write_file("mutant", &bz, length);
        struct boot_request r = request_for(kernel, 64 * MIB);
        assert_refused(&r, "'");
    }
}

/* ---------------------------------------------------------------- PVH */

struct pvh {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[2];
    struct {
        uint32_t name_bytes, desc_bytes, type;
        char name[4];
        uint32_t entry, pad;
    } note;
    uint8_t code[256];
};

static struct pvh pvh_image(void)
{
    struct pvh f = {
        .eh = {.e_type = ET_EXEC,
               .e_machine = EM_X86_64,
               .e_version = 1,
               .e_entry = 0x200000,
               .e_phoff = offsetof(struct pvh, ph),
               .e_ehsize = sizeof(Elf64_Ehdr),
               .e_phentsize = sizeof(Elf64_Phdr),
               .e_phnum = 2},
        .ph = {{.p_type = PT_NOTE,
                .p_offset = offsetof(struct pvh, note),
                .p_filesz = sizeof(f.note),
                .p_memsz = sizeof(f.note)},
               {.p_type = PT_LOAD,
                .p_offset = offsetof(struct pvh, code),
                .p_paddr = 0x200000,
                .p_vaddr = 0xffffffff80200000,
                .p_filesz = 256,
                .p_memsz = 8192}},
        .note = {4, 4, 18, "Xen", 0x200010, 0},
    };
    memcpy(f.eh.e_ident, ELFMAG "\2\1\1", 7);
    memset(f.code, 0x90, sizeof(f.code));
    return f;
}

static void test_pvh(void)
{
    struct pvh f = pvh_image();
    g_autofree char *kernel = write_file("vmlinux", &f, sizeof(f));
    g_autofree char *initrd = write_file("initrd", "hello", 5);
    struct boot_request r = request_for(kernel, 16 * MIB);
    r.initrd = initrd;
    r.append = "a b";
    struct boot_image *image = boot_image_new(&r, NULL);
    g_assert_nonnull(image);
    g_autofree uint8_t *ram = lay_out(image, 16 * MIB);
    struct {
        uint32_t magic, version, flags, nr_modules;
        uint64_t modlist, cmdline, rsdp, memmap;
        uint32_t memmap_entries, reserved;
    } info;

    g_assert_cmphex(image->regs.rip, ==, 0x200010);
    g_assert_cmphex(ram[0x2000ff], ==, 0x90);
    g_assert_cmphex(ram[0x200100], ==, 0);
    memcpy(&info, ram + image->regs.rbx, sizeof(info));
    g_assert_cmphex(info.magic, ==, 0x336ec578);
    g_assert_cmpuint(info.version, ==, 1);
    g_assert_cmpuint(info.nr_modules, ==, 1);
    g_assert_cmpstr((char *)ram + info.cmdline, ==, "a b");
    g_assert_cmphex(info.rsdp, ==, 0xe0000);
    g_assert_cmpuint(info.memmap_entries, ==, 2);
    uint64_t module[2];
    memcpy(module, ram + info.modlist, sizeof(module));
    g_assert_cmpuint(module[1], ==, 5);
    g_assert_cmpint(memcmp(ram + module[0], "hello", 5), ==, 0);
    boot_image_free(image);
}

static void test_pvh_mutations(void)
{
    for (unsigned at = 4; at < offsetof(struct pvh, code); at++) {
        for (unsigned value = 1; value < 256; value += 127) {
            struct pvh f = pvh_image();
            ((uint8_t *)&f)[at] ^= (uint8_t)value;
            g_autofree char *kernel = write_file("mutant", &f, sizeof(f));
            struct boot_request r = request_for(kernel, 16 * MIB);
            struct boot_image *image = boot_image_new(&r, NULL);
            if (image) {
                check_pieces(image, 16 * MIB);
            }
            boot_image_free(image);
        }
    }
    struct pvh f = pvh_image();
    f.note.type = 17;
    g_autofree char *kernel = write_file("vmlinux", &f, sizeof(f));
    struct boot_request r = request_for(kernel, 16 * MIB);
    assert_refused(&r, "without a PVH entry note");
    f = pvh_image();
    f.ph[1].p_paddr = 0xa0000;
    g_free(write_file("vmlinux", &f, sizeof(f)));
    assert_refused(&r, "wants 8192 bytes at 0xa0000, which is not all RAM");
    f = pvh_image();
    f.ph[1].p_memsz = 1ull << 40;
    g_free(write_file("vmlinux", &f, sizeof(f)));
    assert_refused(&r, "not all RAM");
}

/* ---------------------------------------------------------------- Multiboot */

static void test_multiboot_kludge(void)
{
    uint8_t f[4096] = {0};
    const uint32_t flags = 0x10003;
    put32(f + 64, 0x1badb002);
    put32(f + 68, flags);
    put32(f + 72, -(0x1badb002 + flags));
    put32(f + 76, 0x8040); /* header at 0x8040: the file starts at 0x8000 */
    put32(f + 80, 0x8000);
    put32(f + 84, 0);
    put32(f + 88, 0xa000);
    put32(f + 92, 0x8100);
    memset(f + 0x100, 0xf4, 16);
    g_autofree char *kernel = write_file("flat", f, sizeof(f));
    struct boot_request r = request_for(kernel, 8 * MIB);
    g_autofree char *initrd = write_file("initrd", "NR_CPUS=2\n", 10);
    r.initrd = initrd;
    r.append = "arg1 arg2";
    struct boot_image *image = boot_image_new(&r, NULL);
    g_assert_nonnull(image);
    g_autofree uint8_t *ram = lay_out(image, 8 * MIB);
    uint32_t mbi[16];

    g_assert_cmphex(image->regs.rip, ==, 0x8100);
    g_assert_cmphex(image->regs.rax, ==, 0x2badb002);
    g_assert_cmphex(ram[0x8100], ==, 0xf4);
    memcpy(mbi, ram + image->regs.rbx, sizeof(mbi));
    g_assert_cmphex(mbi[0] & 0x4d, ==, 0x4d);
    g_assert_cmpuint(mbi[2], ==, 7 * 1024);
    g_autofree char *expected = g_strconcat(kernel, " arg1 arg2", NULL);
    g_assert_cmpstr((char *)ram + mbi[4], ==, expected);
    g_assert_cmpuint(mbi[5], ==, 1);
    uint32_t module[4];
    memcpy(module, ram + mbi[6], sizeof(module));
    g_assert_cmpuint(module[1] - module[0], ==, 10);
    g_assert_cmpint(memcmp(ram + module[0], "NR_CPUS=2\n", 10), ==, 0);
    g_assert_cmpuint(mbi[11], ==, 2 * 24);
    boot_image_free(image);

    for (unsigned at = 68; at < 96; at++) {
        if (at >= 72 && at < 76) {
            continue; /* the checksum follows */
        }
        uint8_t m[4096];
        memcpy(m, f, sizeof(m));
        m[at] ^= 0x81;
        uint32_t now;
        memcpy(&now, m + 68, 4);
        put32(m + 72, -(0x1badb002 + now));
        g_free(write_file("flat", m, sizeof(m)));
        image = boot_image_new(&r, NULL);
        if (image) {
            check_pieces(image, 8 * MIB);
        }
        boot_image_free(image);
    }
}

/* An ELF file that is linked to run elsewhere than where it is loaded, with a Multiboot header. */
struct high_kernel {
    Elf32_Ehdr eh;
    Elf32_Phdr ph;
    uint32_t header[3];
    uint8_t code[256];
};

static struct high_kernel high_kernel(void)
{
    struct high_kernel f = {
        .eh = {.e_type = ET_EXEC,
               .e_machine = EM_386,
               .e_version = 1,
               .e_entry = 0xc1000010,
               .e_phoff = offsetof(struct high_kernel, ph),
               .e_ehsize = sizeof(Elf32_Ehdr),
               .e_phentsize = sizeof(Elf32_Phdr),
               .e_phnum = 1},
        .ph = {.p_type = PT_LOAD,
               .p_offset = offsetof(struct high_kernel, code),
               .p_paddr = 0x200000,
               .p_vaddr = 0xc1000000,
               .p_filesz = 256,
               .p_memsz = 4096},
        .header = {0x1badb002, 0, -0x1badb002u},
    };
    memcpy(f.eh.e_ident, ELFMAG "\1\1\1", 7);
    return f;
}

static void test_multiboot_modules(void)
{
    struct high_kernel f = high_kernel();
    g_autofree char *kernel = write_file("high", &f, sizeof(f));
    g_autofree char *first = write_file("first", "hello", 5);
    g_autofree char *second = write_file("with,comma", "there", 6);
    g_autofree char *wanted = g_strconcat(second, " c", NULL);
    g_autofree char *list = g_strconcat(first, " a,,b,", tmp_dir, "/with,,comma c", NULL);
    g_autofree char *string = g_strconcat(first, " a,b", NULL);
    struct boot_request r = request_for(kernel, 16 * MIB);
    r.initrd = list;
    struct boot_image *image = boot_image_new(&r, NULL);
    g_assert_nonnull(image);
    g_autofree uint8_t *ram = lay_out(image, 16 * MIB);
    uint32_t mbi[16], module[2][4];

    g_assert_cmphex(image->regs.rip, ==, 0x200010);
    memcpy(mbi, ram + image->regs.rbx, sizeof(mbi));
    g_assert_cmpuint(mbi[5], ==, 2);
    memcpy(module, ram + mbi[6], sizeof(module));
    g_assert_cmphex(module[0][0], ==, 0x201000);
    g_assert_cmphex(module[0][1], ==, 0x201005);
    g_assert_cmphex(module[1][0], ==, 0x202000);
    g_assert_cmpint(memcmp(ram + 0x201000, "hello", 5), ==, 0);
    g_assert_cmpint(memcmp(ram + 0x202000, "there", 6), ==, 0);
    g_assert_cmpstr((char *)ram + module[0][2], ==, string);
    g_assert_cmpstr((char *)ram + module[1][2], ==, wanted);
    boot_image_free(image);

    g_autofree char *missing = g_strconcat(first, ",/nowhere x", NULL);
    r.initrd = missing;
    assert_refused(&r, "initrd '/nowhere': No such file");
    g_autofree char *trailing = g_strconcat(first, ",", NULL);
    r.initrd = trailing;
    assert_refused(&r, "initrd '': No such file");
}

/* ---------------------------------------------------------------- into RAM */

static void test_load(void)
{
    struct pvh f = pvh_image();
    g_autofree char *kernel = write_file("vmlinux", &f, sizeof(f));
    struct boot_request r = request_for(kernel, 16 * MIB);
    struct boot_image *image = boot_image_new(&r, NULL);
    struct ram_block *block = ram_block_new("ram", 16 * MIB, NULL);
    struct region region = {.name = "ram", .kind = REGION_RAM, .size = 16 * MIB, .ram = block};
    struct address_space *as = address_space_new("memory", UINT64_MAX);
    g_autoptr(GError) error = NULL;

    address_space_map(as, 0, &region, 0);
    g_assert_true(boot_image_load(image, as, true, &error));
    g_assert_cmphex(block->host[0x200000], ==, 0x90);
    memset(block->host + 0x200000, 0xaa, 8192);
    g_assert_true(boot_image_load(image, as, false, &error)); /* reset: bss is zero again */
    g_assert_cmphex(block->host[0x2000ff], ==, 0x90);
    g_assert_cmphex(block->host[0x200100], ==, 0);
    g_assert_cmpint(truncate(kernel, 200), ==, 0); /* the file shrinks under us */
    g_assert_false(boot_image_load(image, as, false, &error));
    g_assert_nonnull(strstr(error->message, "truncated"));
    boot_image_free(image);
    address_space_free(as);
    ram_block_free(block);
}

static void remove_tmp(void)
{
    GDir *dir = g_dir_open(tmp_dir, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tmp_dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(tmp_dir);
    g_free(tmp_dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    tmp_dir = g_dir_make_tmp("godwit-boot-XXXXXX", NULL);
    g_test_add_func("/boot/linux/plan", test_linux);
    g_test_add_func("/boot/linux/32-bit-entry", test_linux_32bit_entry);
    g_test_add_func("/boot/linux/refused", test_linux_refused);
    g_test_add_func("/boot/linux/mutations", test_linux_mutations);
    g_test_add_func("/boot/pvh/plan", test_pvh);
    g_test_add_func("/boot/pvh/mutations", test_pvh_mutations);
    g_test_add_func("/boot/multiboot/kludge", test_multiboot_kludge);
    g_test_add_func("/boot/multiboot/modules", test_multiboot_modules);
    g_test_add_func("/boot/load", test_load);
    int status = g_test_run();
    remove_tmp();
    return status;
}

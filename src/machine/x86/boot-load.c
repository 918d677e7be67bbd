/* Boot images: laying a plan into guest RAM, at every reset. */
#include "machine/x86/boot-priv.h"

#include "memory/address-space.h"
#include <string.h>

static bool piece_load(const struct boot_piece *piece, struct address_space *as, bool fresh,
                       GError **error)
{
    uint8_t *host = address_space_ram_ptr(as, piece->addr, piece->mem_bytes);
    uint64_t wanted = fresh ? piece->data_bytes : piece->mem_bytes;

    if (piece->mem_bytes == 0) {
        return true;
    }
    if (!host) { /* the plan was checked against the board's RAM: a map that changed since */
        g_set_error(error, BOOT_ERROR, BOOT_ERROR_SPACE,
                    "no RAM at 0x%" G_GINT64_MODIFIER "x for %" G_GUINT64_FORMAT " bytes",
                    piece->addr, piece->mem_bytes);
        return false;
    }
    bool ok = boot_piece_read(piece, 0, host, wanted, error);
    address_space_ram_written(as, piece->addr, piece->mem_bytes);
    return ok;
}

bool boot_image_load(const struct boot_image *image, struct address_space *as, bool fresh,
                     GError **error)
{
    for (guint i = 0; i < image->pieces->len; i++) {
        if (!piece_load(&g_array_index(image->pieces, struct boot_piece, i), as, fresh, error)) {
            g_prefix_error(error, "cannot load kernel '%s': ", image->kernel.path);
            return false;
        }
    }
    return true;
}

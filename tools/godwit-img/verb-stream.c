/*
 * stream: what a file holds that a guest was migrated or saved to.
 */
#include "img.h"

#include "migration/stream-print.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int verb_stream(struct img *img, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    FILE *file;
    bool ok;

    if (argc != 2 || argv[1][0] == '-') {
        return img_usage("stream takes a file");
    }
    file = fopen(argv[1], "re");
    if (!file) {
        return img_fail("Could not open '%s': %s", argv[1], strerror(errno));
    }
    ok = stream_print(file, stdout, &error);
    fclose(file);
    return ok ? 0 : img_fail("'%s': %s", argv[1], error->message);
}

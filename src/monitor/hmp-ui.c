/* The human monitor's screendump and sendkey. */
#include "monitor/hmp-ui.h"

#include "devices/display/display.h"
#include "devices/isa/i8042.h"
#include "monitor/keycodes.h"
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 16

/* screendump FILE [-f ppm|png] [DEVICE [HEAD]] */
void hmp_screendump(struct machine *m, const char *args, GString *out)
{
    g_auto(GStrv) word = g_strsplit_set(args, " \t", -1);
    const char *file = word[0], *device = NULL;
    enum image_format format = IMAGE_FORMAT_PPM;
    g_autoptr(GError) error = NULL;
    struct device *display;
    struct image image;
    unsigned i = 1;

    if (!file || !*file) {
        g_string_append(out, "screendump: filename expected\n");
        return;
    }
    if (word[i] && strcmp(word[i], "-f") == 0) {
        if (!word[i + 1] || (strcmp(word[i + 1], "png") != 0 && strcmp(word[i + 1], "ppm") != 0)) {
            g_string_append(out, "Error: invalid parameter 'format' (ppm or png)\n");
            return;
        }
        format = strcmp(word[i + 1], "png") == 0 ? IMAGE_FORMAT_PNG : IMAGE_FORMAT_PPM;
        i += 2;
    }
    device = word[i];
    display = display_find(&m->env, device);
    if (!display || (device && word[i + 1] && strcmp(word[i + 1], "0") != 0)) {
        g_string_append(out, device ? "Error: there is no such display\n"
                                    : "Error: There is no console to take a screendump from\n");
        return;
    }
    display_render(display, &image);
    if (!image_write(&image, file, format, &error)) {
        g_string_append_printf(out, "Error: %s\n", error->message);
    }
    image_finish(&image);
}

/* A name, or 0x and a number; 0: there is no such key. */
static uint8_t key_number(const char *name)
{
    enum q_key_code code;
    char *end;

    if (g_str_has_prefix(name, "0x")) {
        unsigned long number = strtoul(name, &end, 16);
        return *end || number > 0xff ? 0 : (uint8_t)number;
    }
    if (strcmp(name, "<") == 0) {
        name = "less";
    }
    return q_key_code_parse(name, &code) ? keycode_number(code) : 0;
}

/* sendkey KEY[-KEY...] [HOLD_MS] */
void hmp_sendkey(struct machine *m, const char *args, GString *out)
{
    g_auto(GStrv) word = g_strsplit_set(args, " \t", 2);
    g_auto(GStrv) key = g_strsplit(word[0] ? word[0] : "", "-", KEYS_MAX + 1);
    unsigned hold_ms = word[0] && word[1] ? (unsigned)CLAMP(atoi(word[1]), 0, 60000) : 100;
    struct device *keyboard = devices_find_class(&m->env, &i8042_class);
    uint8_t number[KEYS_MAX];
    unsigned n = 0;

    for (; key[n]; n++) {
        if (n == KEYS_MAX) {
            g_string_append(out, "too many keys\n");
            return;
        }
        number[n] = key_number(key[n]);
        if (!number[n]) {
            g_string_append_printf(out, "invalid parameter: %s\n", key[n]);
            return;
        }
    }
    if (!keyboard ||
        (!runstate_is_running(m->run) && runstate_get(m->run) != RUN_STATE_SUSPENDED)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        i8042_key(keyboard, number[i], true, hold_ms);
    }
    for (unsigned i = n; i > 0; i--) {
        i8042_key(keyboard, number[i - 1], false, hold_ms);
    }
}

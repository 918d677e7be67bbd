/*
 * Commands of the schema module ui: pictures of displays, keys, the mouse.
 */
#include "monitor/monitor-priv.h"

#include "devices/display/display.h"
#include "devices/isa/i8042.h"
#include "monitor/keycodes.h"
#include "qapi-commands.h"
#include "qapi/error.h"

#define HOLD_DEFAULT_MS 100
#define HOLD_MAX_MS     60000

/* ---------------------------------------------------------------- displays */

static struct device *find_display(struct machine *m, const char *device, bool has_head,
                                   int64_t head, GError **errp)
{
    struct device *display;

    if (has_head && !device) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "'head' must be specified together with 'device'");
        return NULL;
    }
    if (device && !devices_find(&m->env, device)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
        return NULL;
    }
    display = display_find(&m->env, device);
    if (device && (!display || head != 0)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Device %s (head %" G_GINT64_FORMAT ") is not bound to a QemuConsole", device,
                    head);
        return NULL;
    }
    if (!display) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "There is no console to take a screendump from");
    }
    return display;
}

bool qmp_screendump(struct qmp_call *call, const struct qmp_screendump_arg *arg, GError **errp)
{
    struct device *display =
        find_display(call->machine, arg->device, arg->has_head, arg->head, errp);
    enum image_format format = arg->has_format ? arg->format : IMAGE_FORMAT_PPM;
    struct image image;
    bool ok;

    if (!display) {
        return false;
    }
    display_render(display, &image);
    ok = image_write(&image, arg->filename, format, errp);
    image_finish(&image);
    return ok;
}

/* ---------------------------------------------------------------- keys */

/* 0: the keyboard has no such key, or there is no keyboard for it. */
static uint8_t key_number(const struct key_value *key)
{
    if (key->type == KEY_VALUE_KIND_QCODE) {
        return keycode_number(key->u.qcode.data);
    }
    return key->u.number.data > 0 && key->u.number.data <= 0xff ? (uint8_t)key->u.number.data : 0;
}

static void press(struct machine *m, const struct key_value *key, bool down, unsigned hold_ms)
{
    struct device *keyboard = devices_find_class(&m->env, &i8042_class);
    uint8_t number = key_number(key);

    if (keyboard && number) {
        i8042_key(keyboard, number, down, hold_ms);
    }
}

/* A guest that sleeps is woken by what it gets. */
static bool takes_input(struct machine *m)
{
    return runstate_is_running(m->run) || runstate_get(m->run) == RUN_STATE_SUSPENDED;
}

bool qmp_send_key(struct qmp_call *call, const struct qmp_send_key_arg *arg, GError **errp)
{
    int64_t hold = arg->has_hold_time ? arg->hold_time : HOLD_DEFAULT_MS;
    unsigned hold_ms = (unsigned)CLAMP(hold, 0, HOLD_MAX_MS);

    if (!takes_input(call->machine)) {
        return true;
    }
    for (size_t i = 0; i < arg->keys->n; i++) {
        press(call->machine, arg->keys->v[i], true, hold_ms);
    }
    for (size_t i = arg->keys->n; i > 0; i--) {
        press(call->machine, arg->keys->v[i - 1], false, hold_ms);
    }
    return true;
}

/* ---------------------------------------------------------------- events */

static const struct {
    enum input_button button;
    unsigned bit;
} buttons[] = {
    {INPUT_BUTTON_LEFT, 1},
    {INPUT_BUTTON_RIGHT, 2},
    {INPUT_BUTTON_MIDDLE, 4},
};

static unsigned button_bit(enum input_button button)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        if (buttons[i].button == button) {
            return buttons[i].bit;
        }
    }
    return 0;
}

static int wheel_step(enum input_button button)
{
    return button == INPUT_BUTTON_WHEEL_DOWN ? 1 : button == INPUT_BUTTON_WHEEL_UP ? -1 : 0;
}

static bool event_known(const struct input_event *event, GError **errp)
{
    if (event->type == INPUT_EVENT_KIND_ABS) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Input handler not found for event type abs");
        return false;
    }
    return true;
}

static void event_send(struct machine *m, const struct input_event *event)
{
    struct device *mouse = devices_find_class(&m->env, &i8042_class);
    unsigned bit;
    int by;

    if (event->type == INPUT_EVENT_KIND_KEY) {
        press(m, event->u.key.data->key, event->u.key.data->down, 0);
    } else if (mouse && event->type == INPUT_EVENT_KIND_BTN &&
               (by = wheel_step(event->u.btn.data->button))) {
        i8042_wheel(mouse, event->u.btn.data->down ? by : 0);
    } else if (mouse && event->type == INPUT_EVENT_KIND_BTN) {
        bit = button_bit(event->u.btn.data->button);
        i8042_mouse(mouse, 0, 0, event->u.btn.data->down ? bit : 0, bit);
    } else if (mouse) {
        by = (int)CLAMP(event->u.rel.data->value, -0x4000, 0x4000);
        if (event->u.rel.data->axis == INPUT_AXIS_X) {
            i8042_mouse(mouse, by, 0, 0, 0);
        } else {
            i8042_mouse(mouse, 0, -by, 0, 0);
        }
    }
}

bool qmp_input_send_event(struct qmp_call *call, const struct qmp_input_send_event_arg *arg,
                          GError **errp)
{
    if (arg->device && !find_display(call->machine, arg->device, arg->has_head, arg->head, errp)) {
        return false;
    }
    if (!takes_input(call->machine)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC, "VM not running");
        return false;
    }
    for (size_t i = 0; i < arg->events->n; i++) {
        if (!event_known(arg->events->v[i], errp)) {
            return false;
        }
    }
    for (size_t i = 0; i < arg->events->n; i++) {
        event_send(call->machine, arg->events->v[i]);
    }
    return true;
}

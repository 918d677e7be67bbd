/*
 * What query-command-line-options tells: the options of the command line that have parameters.
 *
 * tests/cli/ compares it with what the options take. Options whose parameters depend on the
 * first word (a driver, a device) have an empty list.
 */
#include "cli/options-priv.h"

#define STRING  COMMAND_LINE_PARAMETER_TYPE_STRING
#define BOOLEAN COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
#define NUMBER  COMMAND_LINE_PARAMETER_TYPE_NUMBER
#define SIZE    COMMAND_LINE_PARAMETER_TYPE_SIZE

static const struct option_param machine_params[] = {
    {"type", STRING},
    {"accel", STRING},
    {"memory-backend", STRING},
    {"kernel", STRING},
    {"initrd", STRING},
    {"append", STRING},
    {"firmware", STRING},
    {"pflash0", STRING},
    {"pflash1", STRING},
    {"usb", BOOLEAN},
    {"graphics", BOOLEAN},
    {"dump-guest-core", BOOLEAN},
    {"vmport", BOOLEAN},
    {"smm", BOOLEAN},
    {"mem-merge", BOOLEAN},
    {"hpet", BOOLEAN},
    {"acpi", BOOLEAN},
    {"smbus", BOOLEAN},
    {"kernel-boot", STRING},
    {"pic", STRING},
    {"pit", STRING},
    {"rtc", STRING},
    {"isa-serial", BOOLEAN},
    {"x-option-roms", BOOLEAN},
    {"kernel-irqchip", STRING},
    {NULL},
};
static const struct option_param accel_params[] = {
    {"accel", STRING},
    {"thread", STRING},
    {"tb-size", NUMBER},
    {"x-translate", BOOLEAN},
    {"x-translate-after", NUMBER},
    {"x-lockstep", BOOLEAN},
    {"x-region", NUMBER},
    {"dirty-ring-size", NUMBER},
    {"kernel-irqchip", STRING},
    {NULL},
};
static const struct option_param smp_params[] = {
    {"cpus", NUMBER},  {"maxcpus", NUMBER},  {"sockets", NUMBER}, {"dies", NUMBER},
    {"cores", NUMBER}, {"clusters", NUMBER}, {"threads", NUMBER}, {NULL},
};
static const struct option_param memory_params[] = {
    {"size", SIZE}, {"slots", NUMBER}, {"maxmem", SIZE}, {NULL}};
static const struct option_param boot_params[] = {
    {"order", STRING},  {"once", STRING},        {"menu", BOOLEAN},          {"strict", BOOLEAN},
    {"splash", STRING}, {"splash-time", NUMBER}, {"reboot-timeout", NUMBER}, {NULL},
};
static const struct option_param rtc_params[] = {
    {"base", STRING}, {"clock", STRING}, {"driftfix", STRING}, {NULL}};
static const struct option_param fw_cfg_params[] = {
    {"name", STRING}, {"file", STRING}, {"string", STRING}, {NULL}};
static const struct option_param name_params[] = {
    {"guest", STRING}, {"debug-threads", BOOLEAN}, {NULL}};
static const struct option_param action_params[] = {
    {"reboot", STRING}, {"shutdown", STRING}, {"panic", STRING}, {"watchdog", STRING}, {NULL}};
static const struct option_param mon_params[] = {
    {"chardev", STRING}, {"mode", STRING}, {"pretty", BOOLEAN}, {"role", STRING}, {NULL}};
static const struct option_param global_params[] = {
    {"driver", STRING}, {"property", STRING}, {"value", STRING}, {NULL}};
static const struct option_param msg_params[] = {
    {"timestamp", BOOLEAN}, {"guest-name", BOOLEAN}, {NULL}};
static const struct option_param overcommit_params[] = {
    {"mem-lock", BOOLEAN}, {"cpu-pm", BOOLEAN}, {NULL}};
static const struct option_param sandbox_params[] = {
    {"enable", BOOLEAN}, {"obsolete", STRING},        {"elevateprivileges", STRING},
    {"spawn", STRING},   {"resourcecontrol", STRING}, {NULL}};

const struct option_desc option_descs[] = {
    {"machine", machine_params},
    {"accel", accel_params},
    {"smp-opts", smp_params},
    {"memory", memory_params},
    {"boot-opts", boot_params},
    {"rtc", rtc_params},
    {"fw_cfg", fw_cfg_params},
    {"name", name_params},
    {"action", action_params},
    {"mon", mon_params},
    {"global", global_params},
    {"msg", msg_params},
    {"overcommit", overcommit_params},
    {"sandbox", sandbox_params},
    {"chardev", NULL},
    {"device", NULL},
    {"drive", NULL},
    {"object", NULL},
    {NULL},
};

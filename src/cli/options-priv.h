/* Handlers of single options, by subject; the table is in options.c. */
#ifndef CLI_OPTIONS_PRIV_H
#define CLI_OPTIONS_PRIV_H

#include "cli/options.h"

/* arg is NULL for options without an argument. */
typedef bool (*option_fn)(struct options *o, const char *arg, GError **error);

/* opt-machine.c */
bool opt_machine(struct options *o, const char *arg, GError **error);
bool opt_no_hpet(struct options *o, const char *arg, GError **error);
bool opt_singlestep(struct options *o, const char *arg, GError **error);
bool opt_no_acpi(struct options *o, const char *arg, GError **error);
bool opt_enable_kvm(struct options *o, const char *arg, GError **error);
bool opt_accel(struct options *o, const char *arg, GError **error);
bool opt_cpu(struct options *o, const char *arg, GError **error);
bool opt_smp(struct options *o, const char *arg, GError **error);
bool opt_memory(struct options *o, const char *arg, GError **error);
/* Keeps an option's text in a list of struct option_text. */
void option_text_add(GPtrArray *list, const char *option, const char *arg);

/* The option by its name, which there is, as if the command line had it here. */
bool option_apply(struct options *o, const char *name, const char *arg, GError **error);

/* opt-config.c */
bool opt_readconfig(struct options *o, const char *arg, GError **error);

/* opt-object.c */
bool opt_object(struct options *o, const char *arg, GError **error);
void memory_object_free(gpointer object);
struct memory_object *memory_object_find(const struct options *o, const char *id); /* NULL: none */
/* Gives the machine the memory that it or its nodes name; what is left become objects. */
bool memory_backend_choose(struct options *o, GError **error);

/* opt-numa.c */
#define DEFAULT_RAM_BYTES (128ull << 20)
struct numa_cpu {
    unsigned index, node;
    bool by_place;                      /* -numa cpu: by these instead; UINT64_MAX: any */
    uint64_t socket, die, core, thread; /* ids, each within the one before */
};
bool opt_numa(struct options *o, const char *arg, GError **error);
/* Checks the nodes' memory against the machine's; *ram: the object that is all of it, or NULL. */
bool numa_choose_memory(struct options *o, const char **ram, GError **error);
/* Nodes of vCPUs, when the topology is known. */
bool numa_place_cpus(struct options *o, GError **error);
/* Distances; and the one node that is there for memory to come. */
bool numa_finish(struct options *o, GError **error);

/* opt-machine.c */
bool opt_boot(struct options *o, const char *arg, GError **error);
bool opt_no_fd_bootchk(struct options *o, const char *arg, GError **error);
bool opt_data_dir(struct options *o, const char *arg, GError **error);
bool opt_rtc(struct options *o, const char *arg, GError **error);
bool opt_global(struct options *o, const char *arg, GError **error);
bool opt_name(struct options *o, const char *arg, GError **error);
bool opt_uuid(struct options *o, const char *arg, GError **error);
bool opt_action(struct options *o, const char *arg, GError **error);
/* What needs several options: topology against the board, RAM against the host, defaults. */
bool opt_machine_finish(struct options *o, GError **error);

/* opt-host.c */
bool opt_msg(struct options *o, const char *arg, GError **error);
bool opt_overcommit(struct options *o, const char *arg, GError **error);
bool opt_add_fd(struct options *o, const char *arg, GError **error);
bool opt_chroot(struct options *o, const char *arg, GError **error);
bool opt_runas(struct options *o, const char *arg, GError **error);
bool opt_sandbox(struct options *o, const char *arg, GError **error);
bool opt_audiodev(struct options *o, const char *arg, GError **error);

/* opt-smbios.c */
bool opt_smbios(struct options *o, const char *arg, GError **error);

/* opt-fw-cfg.c */
bool opt_fw_cfg(struct options *o, const char *arg, GError **error);
bool opt_option_rom(struct options *o, const char *arg, GError **error);

/* opt-acpitable.c */
bool opt_acpitable(struct options *o, const char *arg, GError **error);

/* "help" or "?", or a list that ends with it. */
bool asks_for_help(const char *arg);

/* opt-help.c */
void help_machines(void);
void help_accels(void);
void help_cpus(void);
void help_devices(void);
void help_netdevs(void);
void help_machine(const struct board *board);
/* "NAME help" of an option with parameters: prints them. false: there are none to tell. */
bool help_option(const char *name);
bool help_device(const char *name); /* false: unknown */

#endif

/* The firmware configuration interface. See fw-cfg.c. */
#ifndef DEVICES_FW_CFG_H
#define DEVICES_FW_CFG_H

#include "devices/core/device.h"

/* Selectors with a fixed meaning. */
#define FW_CFG_SIGNATURE      0x00
#define FW_CFG_ID             0x01
#define FW_CFG_UUID           0x02 /* 16 bytes */
#define FW_CFG_RAM_SIZE       0x03 /* u64 */
#define FW_CFG_NOGRAPHIC      0x04 /* u16 */
#define FW_CFG_NB_CPUS        0x05 /* u16 */
#define FW_CFG_KERNEL_ADDR    0x07 /* u32 */
#define FW_CFG_KERNEL_SIZE    0x08
#define FW_CFG_INITRD_ADDR    0x0a
#define FW_CFG_INITRD_SIZE    0x0b
#define FW_CFG_BOOT_MENU      0x0e
#define FW_CFG_MAX_CPUS       0x0f /* u16 */
#define FW_CFG_KERNEL_ENTRY   0x10
#define FW_CFG_KERNEL_DATA    0x11
#define FW_CFG_INITRD_DATA    0x12
#define FW_CFG_CMDLINE_ADDR   0x13
#define FW_CFG_CMDLINE_SIZE   0x14
#define FW_CFG_CMDLINE_DATA   0x15
#define FW_CFG_SETUP_ADDR     0x16
#define FW_CFG_SETUP_SIZE     0x17
#define FW_CFG_SETUP_DATA     0x18
#define FW_CFG_FILE_DIR       0x19
#define FW_CFG_ACPI_TABLES    0x8000
#define FW_CFG_SMBIOS_ENTRIES 0x8001
#define FW_CFG_IRQ0_OVERRIDE  0x8002

extern const struct device_class fw_cfg_class;

/* Ports 0x510 to 0x51b. */
struct device *fw_cfg_create(struct device_env *env, GError **error);

/* What a selector gives: a copy of data is made; an earlier item is replaced. */
void fw_cfg_set(struct device *fw, uint16_t key, const void *data, size_t length);
void fw_cfg_set_u16(struct device *fw, uint16_t key, uint16_t value);
void fw_cfg_set_u32(struct device *fw, uint16_t key, uint32_t value);
void fw_cfg_set_u64(struct device *fw, uint16_t key, uint64_t value);

#define FW_CFG_NAME_MAX 55
/* A named file (its name has at most FW_CFG_NAME_MAX characters, as "opt/org.example/x"). Replaces
 * one of that name. An error when the name is too long or the directory is full. */
bool fw_cfg_add_file(struct device *fw, const char *name, const void *data, size_t length,
                     GError **error);

bool fw_cfg_has_file(const struct device *fw, const char *name);

/* Called before the guest reads a file from its start, so that its content can be brought up to
 * date by fw_cfg_add_file(). One at a time; NULL: nobody. */
void fw_cfg_on_read(struct device *fw, void (*reading)(void *opaque, const char *name),
                    void *opaque);

/* What the guest has made of a writable file. Called after each of its writes, and after a reset
 * (which puts the first content back) or a load. */
typedef void (*fw_cfg_written_fn)(void *opaque, const uint8_t *data, size_t length);

/* A file that the guest may write by DMA, within its length. data: its content after each reset,
 * copied. All such files together have 256 bytes at most, and there are at most 8; more is an
 * error, and so is a name that is taken. */
bool fw_cfg_add_writable_file(struct device *fw, const char *name, const void *data, size_t length,
                              fw_cfg_written_fn written, void *opaque, GError **error);

#endif

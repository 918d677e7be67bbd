/* What the user wants a field of the SMBIOS tables to say. */
#ifndef MACHINE_SMBIOS_FIELD_H
#define MACHINE_SMBIOS_FIELD_H

/* Checked: numbers are numbers, a UUID is one, a release is "MAJOR.MINOR". A field without a name
 * says that the structure is wanted. Of several for one field the last holds, but those of type 11,
 * which are all taken. Strings are owned. */
struct smbios_field {
    unsigned type; /* of the structure */
    char *name, *value;
};

#endif

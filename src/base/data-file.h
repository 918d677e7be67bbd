/* Firmware and option ROMs that come with the system. */
#ifndef BASE_DATA_FILE_H
#define BASE_DATA_FILE_H

#include <glib.h>

/* The path of the first file with that name in dirs (char *, the user's; NULL: none) and then in
 * the places where distributions install such files. A name with a slash in it, and one that is a
 * file as it stands, are taken as they are. NULL and *error, which says where was looked and what
 * package has the file, when there is none. The caller frees it. */
char *data_file_find(const GPtrArray *dirs, const char *name, GError **error);

#endif

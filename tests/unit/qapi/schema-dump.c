/*
 * Prints the generated answer to query-qmp-schema, for qapi-introspect.py to look at.
 */
#include <stdio.h>

#include "qapi-introspect.h"

int main(void)
{
    puts(qmp_schema_json);
    return 0;
}

#!/bin/sh
# Includes point downward only: each room may include its own headers and those of the rooms before it
# in this list (docs/architecture.md, "Rooms"). Also: a -priv.h header stays in its folder.
#   include-direction.sh SOURCE_ROOT
set -eu
cd "$1/src"
rooms="base qapi memory chardev net block cpu devices machine migration monitor cli"
bad=0

allowed=""
for room in $rooms; do
    allowed="$allowed $room"
    for line in $(grep -rnoE '^#include "[a-z]+/[^"]+"' "$room" --include='*.[chS]' --include='*.def' | tr ' ' '~'); do
        included=$(echo "$line" | sed 's/.*"\([^"]*\)".*/\1/')
        target=${included%%/*}
        from=${line%%:*}
        case " $allowed " in
        *" $target "*) ;;
        *)
            echo "$from includes \"$included\": $room may not use $target"
            bad=1
            ;;
        esac
        case $included in
        *-priv.h)
            case "$(dirname "$from")/" in
            "$(dirname "$included")/"*) ;;
            *)
                echo "$from includes the private header \"$included\""
                bad=1
                ;;
            esac
            ;;
        esac
    done
done
for dir in */; do
    case " $rooms " in
    *" ${dir%/} "*) ;;
    *)
        echo "src/$dir is no room that this script knows"
        bad=1
        ;;
    esac
done
# The types and events of the schema are everybody's; commands and introspection are the monitor's.
for file in $(grep -rlE '^#include "qapi-(commands|introspect)\.h"' . --include='*.[ch]'); do
    case $file in
    ./monitor/*) ;;
    *)
        echo "$file includes the schema's commands: only monitor may"
        bad=1
        ;;
    esac
done
exit $bad

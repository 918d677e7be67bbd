#!/usr/bin/env python3
"""Good and bad schemas for godwit-qapi: what is accepted, and the words and places of errors.

    schemas.py GODWIT-QAPI

Each bad schema comes with all the lines that are expected, as "LINE: message" or, for another
file than the main one, "FILE:LINE: message". Each is given to `check` and to `generate`, which
must say the same and write nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

REQUIRED = "{ 'pragma': { 'doc-required': true } }\n"

# (schema, expected lines...)
BAD = [
    # -- tokens and syntax
    ("{ 'enum': 'Foo', 'data': [ 'a' }", "1: expected ',' or ']', found '}'"),
    ("{ 'enum': 'Foo'\n'data': [] }", "2: expected ',' or '}', found a string"),
    ("{ 'enum': 'Foo', }", "1: expected a string, found '}'"),
    ("{ 'enum' 'Foo' }", "1: expected ':', found a string"),
    ("{ 'enum': 'Foo', 'data': [ 'a' ]", "1: expected ',' or '}', found the end of the file"),
    ("{ 'enum': }", "1: expected '{', '[', a string or a boolean, found '}'"),
    ("[ 'enum' ]", "1: expected '{', found '['"),
    ("'enum'", "1: expected '{', found a string"),
    ("{ 'enum': 'Foo', 'data': [ 1 ] }", "1: stray '1'"),
    ("{ 'enum': null }", "1: stray 'null'"),
    ("{ 'enum': \"Foo\" }", "1: strings stand in single quotes"),
    ("{ 'enum': 'Foo\n' }", "1: missing terminating \"'\""),
    ("{ 'enum': 'Foo", "1: missing terminating \"'\""),
    ("{ 'enum': 'F\\noo' }", "1: unknown escape in a string, only '\\\\' is"),
    ("{ 'enum': 'F\u00f6' }", "1: a string may only hold printable ASCII characters"),
    ("{ 'enum': 'F\to' }", "1: a string may only hold printable ASCII characters"),
    ("\u00e9", "1: stray '\u00e9'"),
    ("{ 'a': 'b', 'a': 'c' }", "1: duplicate key 'a'"),
    ("{ 'enum': 'Foo', 'data':\n ## no\n [] }",
     "2: expected '{', '[', a string or a boolean, found documentation"),
    ("{}\n{ 'enum': 'Foo', 'data': [] } junk", "1: expression is not a definition: no key 'enum', "
     "'struct', 'union', 'alternate', 'command' or 'event'", "2: stray 'junk'"),
    ("[" * 100, "1: expected '{', found '['"),
    ("{ 'a': " + "[" * 100, "1: values are nested more than 32 levels deep"),
    ("{ 'a': " * 100, "1: values are nested more than 32 levels deep"),
    # errors of several definitions, the first of each
    ("{ 'enum': 'Foo' }\n{ 'struct': 'bar', 'data': { 'A': 'x', 'B': 'y' } }\n"
     "{ 'struct': 'Good', 'data': {} }\n{ 'enum': [ }\n{ 'struct': 'Baz', 'data': { 'a': 'Foo',\n"
     "  'b': 'NoSuch' } }",
     "1: enum 'Foo' misses key 'data'", "2: type 'bar' must use CamelCase",
     "4: expected '{', '[', a string or a boolean, found '}'",
     "6: struct 'Baz' uses unknown type 'NoSuch'"),
    # -- directives
    ("{ 'include': 'x.json', 'data': {} }", "1: an include directive has no other key"),
    ("{ 'include': [] }", "1: the value of 'include' must be a file name"),
    ("{ 'include': '' }", "1: the value of 'include' must be a file name"),
    ("\n{ 'include':\n 'no-such.json' }",
     "3: cannot read 'no-such.json': No such file or directory"),
    ("{ 'include': '.' }", "1: cannot read '.': not a regular file"),
    ("{ 'pragma': true }", "1: the value of 'pragma' must be an object"),
    ("{ 'pragma': {}, 'a': 'b' }", "1: a pragma directive has no other key"),
    ("{ 'pragma': { 'no-such': true } }", "1: unknown pragma 'no-such'"),
    ("{ 'pragma': { 'doc-required': 'yes' } }", "1: pragma 'doc-required' must be a boolean"),
    ("{ 'pragma': { 'member-name-exceptions': 'Foo' } }",
     "1: pragma 'member-name-exceptions' must be an array of strings"),
    ("{ 'pragma': { 'command-name-exceptions': [ true ] } }",
     "1: pragma 'command-name-exceptions' must be an array of strings"),
    # -- names
    ("{ 'enum': 'foo', 'data': [] }", "1: type 'foo' must use CamelCase"),
    ("{ 'enum': 'FOO', 'data': [] }", "1: type 'FOO' must use CamelCase"),
    ("{ 'enum': 'Foo-Bar', 'data': [] }", "1: type 'Foo-Bar' must use CamelCase"),
    ("{ 'enum': '1Foo', 'data': [] }", "1: type '1Foo' has an invalid name"),
    ("{ 'enum': '', 'data': [] }", "1: type '' has an invalid name"),
    ("{ 'enum': 'Foo!', 'data': [] }", "1: type 'Foo!' has an invalid name"),
    ("{ 'enum': 'FooList', 'data': [] }", "1: type 'FooList' must not end in 'List'"),
    ("{ 'enum': [], 'data': [] }", "1: 'enum' must be a string"),
    ("{ 'command': 'Foo' }", "1: command 'Foo' must not use uppercase or '_'"),
    ("{ 'command': 'foo_bar' }", "1: command 'foo_bar' must not use uppercase or '_'"),
    ("{ 'event': 'foo' }", "1: event 'foo' must not use lowercase or '-'"),
    ("{ 'event': 'FOO-BAR' }", "1: event 'FOO-BAR' must not use lowercase or '-'"),
    ("{ 'command': 'q_x' }", "1: command 'q_x' begins with 'q_', which is reserved"),
    ("{ 'struct': 'Foo', 'data': { 'q-x': 'int' } }",
     "1: member 'q-x' begins with 'q_', which is reserved"),
    ("{ 'struct': 'Foo', 'data': { 'u': 'int' } }", "1: member 'u' uses a reserved name"),
    ("{ 'struct': 'Foo', 'data': { '*has-x': 'int' } }",
     "1: member 'has-x' uses a reserved name"),
    ("{ 'struct': 'Foo', 'data': { 'Bar': 'int' } }",
     "1: member 'Bar' must not use uppercase or '_'"),
    ("{ 'struct': 'Foo', 'data': { '**bar': 'int' } }", "1: member '*bar' has an invalid name"),
    ("{ 'struct': 'Foo', 'data': { '': 'int' } }", "1: member '' has an invalid name"),
    ("{ 'enum': 'Foo', 'data': [ 'a_b' ] }", "1: enum value 'a_b' must not use uppercase or '_'"),
    ("{ 'enum': 'int', 'data': [] }", "1: 'int' is a built-in type"),
    ("{ 'enum': 'Foo', 'data': [] }\n{ 'struct': 'Foo', 'data': {} }",
     "2: 'Foo' is already defined, at t.json:1"),
    ("{ 'command': 'foo' }\n{ 'command': 'foo' }", "2: 'foo' is already defined, at t.json:1"),
    # -- enumerations
    ("{ 'enum': 'Foo' }", "1: enum 'Foo' misses key 'data'"),
    ("{ 'enum': 'Foo', 'data': {} }", "1: 'data' of an enum must be an array"),
    ("{ 'enum': 'Foo', 'data': [ [ 'a' ] ] }",
     "1: a value of an enum must be a string or an object"),
    ("{ 'enum': 'Foo', 'data': [ { 'name': [] } ] }",
     "1: a value of an enum must be a string or an object"),
    ("{ 'enum': 'Foo', 'data': [ { 'if': 'A' } ] }", "1: enum value misses key 'name'"),
    ("{ 'enum': 'Foo', 'data': [ { 'name': 'a', 'x': 'A' } ] }",
     "1: enum value has unknown key 'x'"),
    ("{ 'enum': 'Foo', 'data': [ 'a',\n 'a' ] }", "2: value 'a' collides with an earlier value"),
    ("{ 'pragma': { 'member-name-exceptions': [ 'Foo' ] } }\n"
     "{ 'enum': 'Foo', 'data': [ 'a-b', 'A_b' ] }",
     "2: value 'A_b' collides with an earlier value"),
    ("{ 'enum': 'Foo', 'data': [], 'prefix': [] }", "1: 'prefix' must be a string"),
    ("{ 'enum': 'Foo', 'data': [], 'prefix': '9 x' }", "1: 'prefix' must be a C identifier"),
    ("{ 'enum': 'Foo', 'data': [], 'base': 'Bar' }", "1: enum 'Foo' has unknown key 'base'"),
    # -- structs
    ("{ 'struct': 'Foo' }", "1: struct 'Foo' misses key 'data'"),
    ("{ 'struct': 'Foo', 'data': [ 'a' ] }", "1: 'data' of a struct must be an object"),
    ("{ 'struct': 'Foo', 'data': 'Bar' }", "1: 'data' of a struct must be an object"),
    ("{ 'struct': 'Foo', 'data': {}, 'extra': true,\n 'other': true }",
     "1: struct 'Foo' has unknown key 'extra'"),
    ("{ 'struct': 'Foo', 'data': { 'a': true } }",
     "1: member 'a' must be the name of a type or an array"),
    ("{ 'struct': 'Foo', 'data': { 'a': [] } }",
     "1: member 'a': an array type must contain the name of a single type"),
    ("{ 'struct': 'Foo', 'data': { 'a': [ 'int', 'int' ] } }",
     "1: member 'a': an array type must contain the name of a single type"),
    ("{ 'struct': 'Foo', 'data': { 'a': [ [ 'int' ] ] } }",
     "1: member 'a': an array type must contain the name of a single type"),
    ("{ 'struct': 'Foo', 'data': { 'a': {} } }", "1: member 'a' misses key 'type'"),
    ("{ 'struct': 'Foo', 'data': { 'a': { 'type': 'int', 'x': 'y' } } }",
     "1: member 'a' has unknown key 'x'"),
    ("{ 'struct': 'Foo', 'data': { 'a': { 'type': { 'b': 'int' } } } }",
     "1: member 'a' must be the name of a type or an array"),
    ("{ 'struct': 'Foo', 'data': { 'a': 'Bar' } }", "1: struct 'Foo' uses unknown type 'Bar'"),
    ("{ 'struct': 'Foo', 'data': { 'a': '[int]' } }",
     "1: struct 'Foo' uses unknown type '[int]'"),
    ("{ 'struct': 'Foo', 'data': { 'a': 'c' } }\n{ 'command': 'c' }",
     "1: struct 'Foo' uses command 'c' as a type"),
    ("{ 'struct': 'Foo', 'data': { 'a': [ 'EV' ] } }\n{ 'event': 'EV' }",
     "1: struct 'Foo' uses event 'EV' as a type"),
    ("{ 'struct': 'Foo', 'data': { 'a-b': 'int',\n '*a-b': 'int' } }",
     "2: member 'a-b' collides with another member"),
    ("{ 'pragma': { 'member-name-exceptions': [ 'Foo' ] } }\n"
     "{ 'struct': 'Foo', 'data': { 'a-b': 'int', 'a_b': 'int' } }",
     "2: member 'a_b' collides with another member"),
    ("{ 'struct': 'Base', 'data': { 'a': 'int' } }\n"
     "{ 'struct': 'Foo', 'base': 'Base', 'data': { '*a': 'int' } }",
     "2: member 'a' collides with another member"),
    ("{ 'struct': 'Foo', 'base': [], 'data': {} }", "1: 'base' must be a string"),
    ("{ 'struct': 'Foo', 'base': 'No', 'data': {} }", "1: struct 'Foo' uses unknown type 'No'"),
    ("{ 'struct': 'Foo', 'base': 'int', 'data': {} }",
     "1: 'base' requires a struct type, built-in type 'int' is not one"),
    ("{ 'struct': 'Foo', 'base': 'Foo', 'data': {} }", "1: struct 'Foo' contains itself"),
    ("{ 'struct': 'Foo', 'base': 'Bar', 'data': {} }\n"
     "{ 'struct': 'Bar', 'base': 'Foo', 'data': {} }", "2: struct 'Bar' contains itself"),
    # -- unions
    ("{ 'union': 'Foo', 'data': { 'a': 'int' } }", "1: union 'Foo' misses key 'base'"),
    ("{ 'union': 'Foo', 'base': {}, 'data': { 'a': 'int' } }",
     "1: union 'Foo' misses key 'discriminator'"),
    ("{ 'enum': 'E', 'data': [ 'a' ] }", "1: type 'E' must use CamelCase"),
    ("{ 'union': 'Foo', 'base': { 'e': 'int' }, 'discriminator': [], 'data': { 'a': 'int' } }",
     "1: 'discriminator' must be a string"),
    ("{ 'union': 'Foo', 'base': true, 'discriminator': 'e', 'data': { 'a': 'int' } }",
     "1: 'base' of a union must be an object or the name of a type"),
    ("{ 'union': 'Foo', 'base': { 'e': 'int' }, 'discriminator': 'e', 'data': [] }",
     "1: 'data' of union 'Foo' must be an object"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': {} }\n"
     "{ 'enum': 'Enu', 'data': [] }", "1: union 'Foo' has no branches"),
    ("{ 'union': 'Foo', 'base': { 'e': 'int' }, 'discriminator': 'e', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }", "1: discriminator 'e' must be of an enum type"),
    ("{ 'union': 'Foo', 'base': { 'e': 'QType' }, 'discriminator': 'e', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }", "1: discriminator 'e' must be of an enum type"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'f', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "1: discriminator 'f' is not a member of 'base'"),
    ("{ 'union': 'Foo', 'base': { '*e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "1: discriminator 'e' must not be optional"),
    ("{ 'union': 'Foo', 'base': { 'e': { 'type': 'Enu', 'if': 'A' } }, 'discriminator': 'e',\n"
     "  'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "1: discriminator 'e' must not be conditional"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e',\n"
     "  'data': { 'a': 'Ess',\n 'b': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "3: branch 'b' is not a value of enum 'Enu'"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': 'int' } }\n"
     "{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "1: branch 'a' of a union must be a struct or union, not built-in type 'int'"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': ['int'] } }\n"
     "{ 'enum': 'Enu', 'data': [ 'a' ] }", "1: branch 'a' cannot be an array"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': 'No' } }\n"
     "{ 'enum': 'Enu', 'data': [ 'a' ] }", "1: union 'Foo' uses unknown type 'No'"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu', 'x': 'int' }, 'discriminator': 'e',\n"
     "  'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': { '*x': 'str' } }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "2: member 'x' of branch 'a' collides with another member"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu', 'x': 'int' }, 'discriminator': 'e',\n"
     "  'data': { 'a': 'Bar' } }\n{ 'enum': 'Enu', 'data': [ 'a' ] }\n"
     "{ 'union': 'Bar', 'base': { 'f': 'Enu' }, 'discriminator': 'f', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': { 'x': 'str' } }",
     "2: member 'x' of branch 'a' collides with another member"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': 'Foo' } }\n"
     "{ 'enum': 'Enu', 'data': [ 'a' ] }", "1: union 'Foo' contains itself"),
    ("{ 'union': 'Foo', 'base': 'Foo', 'discriminator': 'e', 'data': { 'a': 'Foo' } }",
     "1: 'base' requires a struct type, union 'Foo' is not one"),
    ("{ 'union': 'Foo', 'base': { 'e': 'Enu' }, 'discriminator': 'e',\n"
     "  'data': { 'a': { 'type': 'Ess', 'features': [ 'x' ] } } }\n"
     "{ 'struct': 'Ess', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a' ] }",
     "2: branch 'a' has unknown key 'features'"),
    # -- alternates
    ("{ 'alternate': 'Foo', 'data': {} }", "1: 'data' of alternate 'Foo' must be a non-empty object"),
    ("{ 'alternate': 'Foo', 'data': [ 'a' ] }",
     "1: 'data' of alternate 'Foo' must be a non-empty object"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'int',\n 'b': 'number' } }",
     "2: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'str', 'b': 'Enu' } }\n{ 'enum': 'Enu', 'data': [] }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'str', 'b': 'int' } }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'bool', 'b': 'str' } }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'bool', 'b': 'Enu' } }\n"
     "{ 'enum': 'Enu', 'data': [ 'x', 'off' ] }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'Enu', 'b': 'int' } }\n"
     "{ 'enum': 'Enu', 'data': [ 'x', '1x' ] }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'Ess', 'b': 'Ess' } }\n{ 'struct': 'Ess', 'data': {} }",
     "1: branch 'b' cannot be distinguished from an earlier branch"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'any' } }",
     "1: branch 'a' of an alternate cannot be built-in type 'any'"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'Foo' } }",
     "1: branch 'a' of an alternate cannot be alternate 'Foo'"),
    ("{ 'alternate': 'Foo', 'data': { 'A': 'int' } }",
     "1: branch 'A' must not use uppercase or '_'"),
    ("{ 'alternate': 'Foo', 'data': { 'a': 'int' }, 'base': 'B' }",
     "1: alternate 'Foo' has unknown key 'base'"),
    # -- commands and events
    ("{ 'command': 'c', 'data': [ 'Foo' ] }", "1: 'data' must be an object or the name of a type"),
    ("{ 'command': 'c', 'data': 'No' }", "1: command 'c' uses unknown type 'No'"),
    ("{ 'command': 'c', 'data': 'int' }", "1: 'data' of command 'c' cannot be built-in type 'int'"),
    ("{ 'command': 'c', 'data': 'Alt', 'boxed': true }\n"
     "{ 'alternate': 'Alt', 'data': { 'a': 'int' } }",
     "1: 'data' of command 'c' cannot be alternate 'Alt'"),
    ("{ 'command': 'c', 'data': 'Uni' }\n{ 'enum': 'Enu', 'data': [ 'a' ] }\n"
     "{ 'union': 'Uni', 'base': { 'e': 'Enu' }, 'discriminator': 'e', 'data': { 'a': 'Ess' } }\n"
     "{ 'struct': 'Ess', 'data': {} }", "1: 'data' can be union 'Uni' only with 'boxed': true"),
    ("{ 'command': 'c', 'boxed': true }", "1: 'boxed': true requires 'data'"),
    ("{ 'command': 'c', 'boxed': true, 'data': {} }",
     "1: with 'boxed': true, 'data' must be the name of a type"),
    ("{ 'command': 'c', 'boxed': false, 'data': 'Ess' }", "1: flag 'boxed' may only be true"),
    ("{ 'command': 'c', 'gen': true }", "1: flag 'gen' may only be false"),
    ("{ 'command': 'c', 'success-response': 'no' }",
     "1: flag 'success-response' may only be false"),
    ("{ 'command': 'c', 'allow-oob': false }", "1: flag 'allow-oob' may only be true"),
    ("{ 'command': 'c', 'allow-preconfig': false }",
     "1: flag 'allow-preconfig' may only be true"),
    ("{ 'command': 'c', 'coroutine': false }", "1: flag 'coroutine' may only be true"),
    ("{ 'command': 'c', 'coroutine': true, 'allow-oob': true }",
     "1: flags 'allow-oob' and 'coroutine' are incompatible"),
    ("{ 'command': 'c', 'returns': 'str' }",
     "1: 'returns' of command 'c' cannot be built-in type 'str'"),
    ("{ 'command': 'c', 'returns': [ 'Enu' ] }\n{ 'enum': 'Enu', 'data': [] }",
     "1: 'returns' of command 'c' cannot be array '[Enu]'"),
    ("{ 'command': 'c', 'returns': 'No' }", "1: command 'c' uses unknown type 'No'"),
    ("{ 'command': 'c', 'role': 'king' }",
     "1: 'role' must be 'observer', 'operator' or 'admin'"),
    ("{ 'command': 'c', 'role': true }", "1: 'role' must be 'observer', 'operator' or 'admin'"),
    ("{ 'event': 'EV', 'role': 'admin' }", "1: event 'EV' has unknown key 'role'"),
    ("{ 'command': 'c', 'returns': true }",
     "1: 'returns' must be the name of a type or an array"),
    ("{ 'command': 'c', 'no-such-key': true }", "1: command 'c' has unknown key 'no-such-key'"),
    ("{ 'event': 'EV', 'returns': 'int' }", "1: event 'EV' has unknown key 'returns'"),
    ("{ 'event': 'EV', 'data': { 'a': 'No' } }", "1: event 'EV' uses unknown type 'No'"),
    ("{ 'event': 'EV', 'data': { 'a': 'int',\n 'a-': 'int', 'A': 'int' } }",
     "2: member 'A' must not use uppercase or '_'"),
    ("{ 'event': 'EV', 'data': 'int' }", "1: 'data' of event 'EV' cannot be built-in type 'int'"),
    ("{ 'event': 'EV', 'data': [ 'int' ] }", "1: 'data' must be an object or the name of a type"),
    # -- conditions and features
    ("{ 'event': 'EV', 'if': '' }", "1: 'if' condition '' is not a valid identifier"),
    ("{ 'event': 'EV', 'if': 'defined(A)' }",
     "1: 'if' condition 'defined(A)' is not a valid identifier"),
    ("{ 'event': 'EV', 'if': [] }",
     "1: an 'if' condition must be a string or an object with one key"),
    ("{ 'event': 'EV', 'if': {} }",
     "1: an 'if' condition must be a string or an object with one key"),
    ("{ 'event': 'EV', 'if': { 'not': 'A', 'all': [ 'B' ] } }",
     "1: an 'if' condition must be a string or an object with one key"),
    ("{ 'event': 'EV', 'if': { 'none': 'A' } }", "1: an 'if' condition has unknown key 'none'"),
    ("{ 'event': 'EV', 'if': { 'all': [] } }",
     "1: 'all' of an 'if' condition must be a non-empty array"),
    ("{ 'event': 'EV', 'if': { 'any': 'A' } }",
     "1: 'any' of an 'if' condition must be a non-empty array"),
    ("{ 'event': 'EV', 'if': { 'any': [ 'A', { 'not': 'b' } ] } }",
     "1: 'if' condition 'b' is not a valid identifier"),
    ("{ 'event': 'EV', 'features': 'a' }", "1: 'features' must be an array"),
    ("{ 'event': 'EV', 'features': [ true ] }", "1: a feature must be a string or an object"),
    ("{ 'event': 'EV', 'features': [ {} ] }", "1: feature misses key 'name'"),
    ("{ 'event': 'EV', 'features': [ { 'name': 'a', 'x': 'y' } ] }",
     "1: feature has unknown key 'x'"),
    ("{ 'event': 'EV', 'features': [ 'A' ] }", "1: feature 'A' must not use uppercase or '_'"),
    ("{ 'event': 'EV', 'features': [ 'a', { 'name': 'a' } ] }", "1: duplicate feature 'a'"),
    ("{ 'struct': 'Foo', 'data': {}, 'features': [ 'deprecated' ] }",
     "1: feature 'deprecated' is not supported for types"),
    ("{ 'enum': 'Foo', 'data': [], 'features': [ 'unstable' ] }",
     "1: feature 'unstable' is not supported for types"),
    # -- names that clash in C only
    ("{ 'struct': 'FooBar', 'data': {} }\n{ 'enum': 'FOOBar', 'data': [] }",
     "2: enum 'FOOBar' collides with struct 'FooBar' in C: both are 'foo_bar'"),
    ("{ 'struct': 'Str', 'data': {} }\n{ 'struct': 'Foo', 'data': { 'a': [ 'Str' ] } }",
     "1: struct 'Str' has the C name 'str_list', which is taken"),
    ("{ 'command': 'error-class' }",
     "1: command 'error-class' has the C name 'error_class', which is taken"),
    ("{ 'enum': 'Foo', 'data': [ 'bar-baz' ] }\n{ 'enum': 'FooBar', 'data': [ 'baz' ] }",
     "2: enum 'FooBar' collides with enum 'Foo' in C: both are 'FOO_BAR_BAZ'"),
    ("{ 'pragma': { 'command-name-exceptions': [ 'a_b' ] } }\n"
     "{ 'command': 'a-b' }\n{ 'command': 'a_b' }",
     "3: command 'a_b' collides with command 'a-b' in C: both are 'a_b'"),
    ("{ 'struct': 'QmpGoArg', 'data': {} }\n{ 'command': 'go', 'data': { 'a': 'int' } }",
     "2: command 'go' collides with struct 'QmpGoArg' in C: both are 'qmp_go_arg'"),
    # -- documentation
    ("## x\n# @Foo:\n##\n{ 'enum': 'Foo', 'data': [] }",
     "1: junk after '##' at the start of documentation"),
    ("##\n# @Foo:\n## x\n{ 'enum': 'Foo', 'data': [] }",
     "3: junk after '##' at the end of documentation"),
    ("##\n# @Foo:\n{ 'enum': 'Foo', 'data': [] }", "3: documentation must end with '##'"),
    ("##\n# @Foo:\n", "3: documentation must end with '##'"),
    ("##\n#@Foo:\n##\n{ 'enum': 'Foo', 'data': [] }", "2: missing space after '#'"),
    ("##\n# @Foo\n##\n{ 'enum': 'Foo', 'data': [] }",
     "2: the line that names what is documented must end with ':'"),
    ("##\n# @:\n##\n{ 'enum': 'Foo', 'data': [] }", "2: a name is required after '@'"),
    ("##\n# @F o:\n##\n{ 'enum': 'Foo', 'data': [] }", "2: 'F o' is not a valid name"),
    ("##\n# @Bar:\n##\n{ 'enum': 'Foo', 'data': [] }",
     "1: documentation comment is for 'Bar', not 'Foo'"),
    ("##\n# @Foo:\n##\n##\n# @Foo:\n##\n{ 'enum': 'Foo', 'data': [] }",
     "1: documentation for 'Foo' is not followed by its definition"),
    ("##\n# @Foo:\n##\n##\n# text\n##\n",
     "1: documentation for 'Foo' is not followed by its definition"),
    ("##\n# text\n# @note: x\n##\n", "3: '@note:' is not allowed in free-form documentation"),
    ("##\n# @Foo:\n##\n", "1: documentation for 'Foo' is not followed by its definition"),
    ("##\n# @Foo:\n##\n{ 'pragma': {} }",
     "1: documentation for 'Foo' is not followed by its definition"),
    ("##\n# @Foo:\n##\n{ 'include': 'empty.json' }",
     "1: documentation for 'Foo' is not followed by its definition"),
    ("##\n# @Foo:\n#\n# @a: b\n# @b: no\n##\n{ 'enum': 'Foo', 'data': [ 'a' ] }",
     "5: documented member 'b' does not exist"),
    ("##\n# @Foo:\n#\n# @a: b\n##\n{ 'struct': 'Foo', 'data': { 'b': 'int' } }",
     "4: documented member 'a' does not exist"),
    ("##\n# @Foo:\n# @a: b\n##\n{ 'struct': 'Foo', 'base': 'Base', 'data': {} }\n"
     "{ 'struct': 'Base', 'data': { 'a': 'int' } }", "3: documented member 'a' does not exist"),
    ("##\n# @c:\n# @a: b\n##\n{ 'command': 'c', 'data': 'Ess' }\n"
     "{ 'struct': 'Ess', 'data': { 'a': 'int' } }", "3: documented member 'a' does not exist"),
    ("##\n# @c:\n# @a: b\n##\n{ 'command': 'c' }", "3: documented member 'a' does not exist"),
    ("##\n# @Foo:\n# @a: b\n# @a: c\n##\n{ 'struct': 'Foo', 'data': { 'a': 'int' } }",
     "4: 'a' is described twice, first in line 3"),
    ("##\n# @Foo:\n# @a:\n##\n{ 'struct': 'Foo', 'data': { 'a': 'int' } }",
     "3: text required after '@a:'"),
    ("##\n# @c:\n# Since:\n#\n# Note: x\n##\n{ 'command': 'c' }",
     "3: text required after 'Since:'"),
    ("##\n# @c:\n# Since: 1\n# Since: 2\n##\n{ 'command': 'c' }",
     "4: duplicated 'Since:' section"),
    ("##\n# @c:\n# Returns: 1\n#\n# Returns: 2\n##\n{ 'command': 'c' }",
     "5: duplicated 'Returns:' section"),
    ("##\n# @EV:\n# Returns: 1\n##\n{ 'event': 'EV' }", "3: 'Returns:' is only valid for commands"),
    ("##\n# @Foo:\n# Errors: 1\n##\n{ 'enum': 'Foo', 'data': [] }",
     "3: 'Errors:' is only valid for commands"),
    ("##\n# @c:\n# Since: 1\n#\n# @a: b\n##\n{ 'command': 'c', 'data': { 'a': 'int' } }",
     "5: description of '@a:' follows a section"),
    ("##\n# @Foo:\n# = Heading\n##\n{ 'enum': 'Foo', 'data': [] }",
     "3: a heading cannot stand in the documentation of a definition"),
    ("##\n# @c:\n# Features:\n# @f: g\n##\n{ 'command': 'c' }",
     "4: documented feature 'f' does not exist"),
    ("##\n# @c:\n##\n{ 'command': 'c', 'features': [ 'f' ] }",
     "4: feature 'f' lacks documentation"),
    ("##\n# @Foo:\n# @a: b\n##\n{ 'struct': 'Foo',\n"
     "  'data': { 'a': { 'type': 'int', 'features': [ 'f' ] } } }",
     "6: feature 'f' lacks documentation"),
    (REQUIRED + "{ 'enum': 'Foo', 'data': [] }", "2: documentation comment required"),
    ("##\n# text\n##\n{ 'enum': 'Foo', 'data': [] }",
     "1: documentation of the definition in line 4 must begin with '@NAME:'"),
    (REQUIRED + "##\n# text\n##\n{ 'enum': 'Foo', 'data': [] }",
     "2: documentation of the definition in line 5 must begin with '@NAME:'"),
    (REQUIRED + "##\n# @Foo:\n# @a: b\n##\n{ 'enum': 'Foo', 'data': [ 'a',\n 'b' ] }",
     "7: member 'b' lacks documentation"),
    (REQUIRED + "##\n# @Foo:\n##\n{ 'struct': 'Foo', 'data': { '*b': 'int' } }",
     "5: member 'b' lacks documentation"),
    (REQUIRED + "##\n# @c:\n##\n{ 'command': 'c', 'data': { 'b': 'int' } }",
     "5: member 'b' lacks documentation"),
    (REQUIRED + "##\n# @Foo:\n##\n{ 'alternate': 'Foo', 'data': { 'b': 'int' } }",
     "5: member 'b' lacks documentation"),
    # broken documentation is complained about once
    (REQUIRED + "##\n# @Foo:\n#x\n##\n{ 'enum': 'Foo', 'data': [] }\n{ 'enum': 'B', 'data': [] }",
     "4: missing space after '#'", "7: type 'B' must use CamelCase"),
]

ENUM = "{ 'enum': 'Foo', 'data': [ 'a' ] }\n"

GOOD = [
    "",
    "\n\n# nothing but a comment\n",
    "\r\n{ 'enum': 'Foo',\r\n 'data': [ 'a' ] }\r\n",
    "# \u00e9 in a comment\n" + ENUM,
    "##\n##\n",
    "##\n# text\n#\n##\n",
    "##\n# text\n#\n# = A heading\n# == And another\n# more\n##\n",
    "##\n# text\n##\n##\n# @Foo:\n##\n" + ENUM,
    # 7.2 has tags with nothing but a blank line before flush text
    "##\n# @Foo:\n#\n# Notes:\n#\n# Flush text.\n#\n# - more\n#\n# Since: 1\n##\n" + ENUM,
    # all values of the tag have empty branches
    "{ 'union': 'Uni', 'base': { 'e': 'Foo' }, 'discriminator': 'e', 'data': {} }\n" + ENUM,
    # blank lines and lines without indentation inside documentation, as in 7.2
    "##\n# @Foo:\n\n# @a: text\n# goes on without indentation\n#\n# Since: 1\n##\n" + ENUM,
    "##\n# @Foo:\n#\n# @a: text\n#\n# Note: first\n#\n# Note: second\n##\n\n" + ENUM,
    # 8.x
    "##\n# @Foo:\n#\n# Overview.\n#\n# @a: text\n#     goes on (since 8.0)\n#\n"
    "# .. note:: Read this.\n#\n# Since: 1\n##\n" + ENUM,
    "##\n# @c:\n#\n# @x: -> not a tag: Since: 3\n#\n# Example::\n#\n#    a\n#\n"
    "# Features:\n#\n# @f: ok\n#\n# Returns: nothing\n##\n"
    "{ 'command': 'c', 'data': { 'x': 'int' }, 'features': [ 'f' ] }",
    # sections behind an example are found, tags inside it too
    "##\n# @c:\n#\n# Example:\n#\n# -> a\n#\n# <- b\n#\n# Since: 1\n##\n{ 'command': 'c' }",
    REQUIRED + "{ 'pragma': { 'documentation-exceptions': [ 'Foo' ] } }\n##\n# @Foo:\n##\n" + ENUM,
    # the order of pragma and definition does not matter
    "{ 'command': 'a_b' }\n{ 'pragma': { 'command-name-exceptions': [ 'a_b' ] } }",
    # downstream and experimental names
    "{ 'enum': '__org.qemu_x-Enum', 'data': [ '__org.qemu_x-value' ] }\n"
    "{ 'struct': '__org.qemu_x-Struct', 'data': { '__org.qemu_x-member': 'int', 'x-y': 'int' } }\n"
    "{ 'event': '__ORG.QEMU_X-EVENT' }\n{ 'command': '__org.qemu_x-command' }",
    # branches that can be told apart
    "{ 'alternate': 'Foo', 'data': { 's': 'Enu', 'b': 'bool', 'n': 'int', 'z': 'null',\n"
    "  'l': [ 'str' ], 'o': 'Ess' } }\n{ 'enum': 'Enu', 'data': [ 'x' ] }\n"
    "{ 'struct': 'Ess', 'data': {} }",
    # a branch for only one value; base by name; forward references
    "{ 'union': 'Foo', 'base': 'Base', 'discriminator': 'e', 'data': { 'b': 'Ess' } }\n"
    "{ 'struct': 'Base', 'base': 'Enum0', 'data': {} }\n"
    "{ 'struct': 'Enum0', 'data': { 'e': 'Enu' } }\n"
    "{ 'enum': 'Enu', 'data': [ 'a', 'b' ] }\n{ 'struct': 'Ess', 'data': { 'a': ['Foo'] } }",
]

FILES = {
    'empty.json': b'',
    'sub/one.json': b"{ 'include': 'two.json' }\n{ 'include': '../sub/two.json' }\n",
    'sub/two.json': b"{ 'enum': 'Two', 'data': [ 'a' ] }\n",
    'sub/bad.json': b"\n{ 'struct': 'bad', 'data': {} }\n",
    'loop-a.json': b"{ 'include': 'loop-b.json' }",
    'loop-b.json': b"\n{ 'include': './loop-a.json' }",
    'self.json': b"{ 'include': 'self.json' }",
    'nul.json': b"# a\n# b \0\n",
    'utf8.json': b"# a\n\n# \xff\n",
    'utf8-short.json': b"{ 'enum': 'Foo', 'data': [] } # \xc3",
}

# (main file, expected lines...): what needs more than one file, or bytes that are not text
FILE_CASES = [
    ('sub/one.json',),
    ('loop-a.json', "loop-b.json:2: inclusion loop: './loop-a.json' includes itself"),
    ('self.json', "self.json:1: inclusion loop: 'self.json' includes itself"),
    ('nul.json', "nul.json:2: the file contains a NUL byte"),
    ('utf8.json', "utf8.json:3: the file is not valid UTF-8"),
    ('utf8-short.json', "utf8-short.json:1: the file is not valid UTF-8"),
    ('no-such.json', "no-such.json:1: cannot read 'no-such.json': No such file or directory"),
    ('sub', "sub:1: cannot read 'sub': not a regular file"),
    ('fifo', "fifo:1: cannot read 'fifo': not a regular file"),
]


class Tester:
    def __init__(self, program):
        self.program = os.path.abspath(program)
        self.folder = tempfile.mkdtemp()
        self.failures = 0
        self.count = 0
        os.chdir(self.folder)
        os.mkdir('sub')
        os.mkfifo('fifo')
        for name, data in FILES.items():
            with open(name, 'wb') as out:
                out.write(data)

    def run(self, *args):
        done = subprocess.run([self.program] + list(args), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return done.returncode, (done.stdout + done.stderr).decode(errors='replace').splitlines()

    def expect(self, title, got, wanted):
        self.count += 1
        if got != wanted:
            self.failures += 1
            print('FAIL: %s\n  expected %s\n  but got  %s' % (title, wanted, got))

    def case(self, title, path, expected):
        wanted = (1 if expected else 0, expected)
        self.expect(title, self.run('check', path), wanted)
        self.expect(title, self.run('generate', '--out', 'out/put', '--prefix', 'x', path), wanted)
        if expected:
            self.expect('output despite an error: ' + title, os.path.exists('out'), False)
        else:
            self.expect('missing output: ' + title, os.path.exists('out/put/x-types.h'), True)
        shutil.rmtree('out', ignore_errors=True)

    def text_case(self, schema, expected):
        with open('t.json', 'w', newline='') as out:
            out.write(schema)
        self.case(repr(schema)[:1000], 't.json', ['t.json:' + line for line in expected])


def check_usage(t):
    """Exit status 2 and a hint, and nothing is written."""
    for args in ([], ['check'], ['no-such', 'x'], ['check', '--out', 'd', 'x'],
                 ['generate', 'empty.json'], ['generate', '--out', 'd', 'empty.json'],
                 ['generate', '--out', 'd', '--prefix', '1', 'empty.json'],
                 ['generate', '--out', 'd', '--prefix', 'a/b', 'empty.json'],
                 ['generate', '--prefix', 'a', 'empty.json', '--out'],
                 ['check', 'empty.json', 'empty.json']):
        status, lines = t.run(*args)
        t.expect(args, (status, 'usage:' in '\n'.join(lines), os.path.exists('d')),
                 (2, True, False))
    status, lines = t.run('--help')
    t.expect('--help', (status, lines[0].startswith('usage:')), (0, True))


def check_write_failures(t):
    """When one file cannot be written, none is, and what was there before stays."""
    os.makedirs('w/x-reference.html')
    with open('w/x-types.h', 'w') as out:
        out.write('before')
    status, lines = t.run('generate', '--out', 'w', '--prefix', 'x', 'empty.json')
    t.expect('target is a folder', (status, len(lines), sorted(os.listdir('w'))),
             (1, 1, ['x-reference.html', 'x-types.h']))
    with open('w/x-types.h') as now:
        t.expect('earlier output', now.read(), 'before')
    status, lines = t.run('generate', '--out', 'empty.json/d', '--prefix', 'x', 'empty.json')
    t.expect('folder cannot be made', (status, len(lines)), (1, 1))
    if os.path.exists('/dev/full') and os.geteuid() != 0:
        os.mkdir('ro', 0o555)
        status, lines = t.run('generate', '--out', 'ro', '--prefix', 'x', 'empty.json')
        t.expect('read-only folder', (status, os.listdir('ro')), (1, []))


def check_hostile(t):
    """Enormous and deeply nested schemas: an answer, soon, and no crash."""
    sizes = {
        'deep': "{ 'a': " + "{ 'a': " * 1000000,
        'long-string': "{ 'enum': '" + "A" * 5000000 + "', 'data': [] }",
        'long-comment': "#" + " " * 5000000,
        'many-errors': "{ 'enum': 'x', 'data': [] }\n" * 100000,
        'many-enums': ''.join("{ 'enum': 'Foo%d', 'data': [ 'a' ] }\n" % i for i in range(50000)),
        'many-values': "{ 'enum': 'Foo', 'data': [ " +
                       ', '.join("'v%d'" % i for i in range(200000)) + " ] }",
        'many-members': "{ 'struct': 'Foo', 'data': { " +
                        ', '.join("'v%d': 'int'" % i for i in range(100000)) + " } }",
        'base-chain': ''.join("{ 'struct': 'F%dx', 'base': 'F%dx', 'data': {} }\n" % (i, i + 1)
                              for i in range(100000)),
        'doubling': ''.join(
            "{ 'union': 'F%dx', 'base': { 'e%d': 'Enu' }, 'discriminator': 'e%d',\n"
            "  'data': { 'a': 'F%dx', 'b': 'F%dx' } }\n" % (i, i, i, i + 1, i + 1)
            for i in range(150)) +
            "{ 'struct': 'F150x', 'data': {} }\n{ 'enum': 'Enu', 'data': [ 'a', 'b' ] }",
        'same-base': "{ 'struct': 'Base', 'data': { " +
                     ', '.join("'v%d': 'int'" % i for i in range(5000)) + " } }\n" +
                     ''.join("{ 'struct': 'F%dx', 'base': 'Base', 'data': {} }\n" % i
                             for i in range(50000)),
        'variants':
            "{ 'enum': 'Enu', 'data': [ " + ', '.join("'v%d'" % i for i in range(3000)) + " ] }\n"
            "{ 'struct': 'Ess', 'data': {} }\n" + ''.join(
                "{ 'union': 'F%dx', 'base': { 'e': 'Enu' }, 'discriminator': 'e',\n"
                "  'data': { 'v1': 'Ess' } }\n" % i for i in range(3000)),
        'too-large': "# " + "x" * (17 * 1024 * 1024),
        'many-includes': ''.join("{ 'include': 'inc%d.json' }\n" % i for i in range(600)),
        'unclosed-doc': "##\n" + "# @x\n" * 1000000,
    }
    for i in range(600):
        shutil.copy('empty.json', 'inc%d.json' % i)
    good = {'long-comment', 'many-enums', 'many-values', 'many-members', 'doubling'}
    for name, text in sizes.items():
        with open('t.json', 'w') as out:
            out.write(text)
        start = time.monotonic()
        status, lines = t.run('check', 't.json')
        print('# %s: %.2f s' % (name, time.monotonic() - start))
        t.expect(name, (status, len(lines) <= 101 and max(map(len, lines), default=0) < 20000000),
                 (0 if name in good else 1, True))


def main():
    t = Tester(sys.argv[1])
    try:
        for schema, *expected in BAD:
            t.text_case(schema, expected)
        for schema in GOOD:
            t.text_case(schema, [])
        for path, *expected in FILE_CASES:
            t.case(path, path, expected)
        with open('t.json', 'w') as out:
            out.write("{ 'include': 'sub/bad.json' }\n{ 'enum': 'bad2', 'data': [] }\n")
        t.case('two files', 't.json', ["t.json:2: type 'bad2' must use CamelCase",
                                       "sub/bad.json:2: type 'bad' must use CamelCase"])
        check_usage(t)
        check_write_failures(t)
        check_hostile(t)
    finally:
        shutil.rmtree(t.folder)
    print('%d checks, %d failures' % (t.count, t.failures))
    sys.exit(1 if t.failures else 0)


main()

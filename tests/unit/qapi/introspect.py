#!/usr/bin/env python3
"""Checks the answer to query-qmp-schema: by itself, and against a real QEMU's.

    qapi-introspect.py own DUMP        everything that is named is described, once
    qapi-introspect.py qemu DUMP QEMU  each command and event has QEMU's structure

DUMP is a program that prints the answer. Exit status 77: QEMU is not installed.
Types are compared by structure, for their names mean nothing. A member or value that QEMU lacks
fails too: what Godwit adds has names of its own (see OWN).
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

OWN = ('godwit-', 'GODWIT_', '__')
# Where QEMU has more kinds of things than Godwit (block drivers, objects): optional members, values
# and branches may be missing. What is there must still be QEMU's.
PARTIAL = {'blockdev-add', 'blockdev-create', 'transaction', 'block_resize', 'query-block', 'query-blockstats',
           'query-jobs', 'query-named-block-nodes', 'object-add', 'chardev-add', 'chardev-change', 'netdev_add',
           'NETDEV_STREAM_CONNECTED', 'query-memory-devices', 'query-memdev', 'query-migrate',
           'migrate-set-capabilities', 'query-migrate-capabilities', 'migrate-set-parameters',
           'query-migrate-parameters'}

# May be run out of band here; in QEMU they may not.
OWN_OOB = {'query-status', 'quit'}


def fail(text):
    print('FAIL:', text)
    sys.exit(1)


def index(entities):
    table = {}
    for entity in entities:
        if entity['name'] in table:
            fail('described twice: ' + entity['name'])
        table[entity['name']] = entity
    return table


def references(entity):
    for key in ('arg-type', 'ret-type', 'element-type'):
        if key in entity:
            yield entity[key]
    for member in entity.get('members', []) if entity['meta-type'] != 'enum' else []:
        yield member['type']
    for variant in entity.get('variants', []):
        yield variant['type']


def check_own(table):
    used = set()
    for entity in table.values():
        for name in references(entity):
            if name not in table:
                fail('%s refers to %s, which is not described' % (entity['name'], name))
            used.add(name)
        if entity['meta-type'] == 'enum':
            if [m['name'] for m in entity['members']] != entity['values']:
                fail('members and values differ: ' + entity['name'])
        if 'tag' in entity:
            tag = [m for m in entity['members'] if m['name'] == entity['tag']]
            if len(tag) != 1 or 'default' in tag[0]:
                fail('no such tag: ' + entity['name'])
            cases = sorted(v['case'] for v in entity['variants'])
            if cases != sorted(table[tag[0]['type']]['values']):
                fail('variants do not cover the tag: ' + entity['name'])
    for entity in table.values():
        if entity['meta-type'] not in ('command', 'event'):
            if entity['name'] not in used:
                fail('nobody uses type ' + entity['name'])
            if entity['meta-type'] not in ('builtin', 'array') and not entity['name'].isdigit():
                fail('a type shows its name: ' + entity['name'])


class Qemu:
    """query-qmp-schema of an installed QEMU, by its own protocol."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, 'qmp')
        self.process = subprocess.Popen(
            [program, '-machine', 'none', '-nodefaults', '-display', 'none', '-S',
             '-qmp', 'unix:%s,server=on,wait=off' % path])
        try:
            self.stream = self.connect(path)
            json.loads(self.stream.readline())
            self.command('qmp_capabilities')
            self.schema = self.command('query-qmp-schema')
        finally:
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder)

    def connect(self, path):
        deadline = time.monotonic() + 30
        while True:
            try:
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(path)
                return sock.makefile('rw')
            except OSError:
                sock.close()
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def command(self, name):
        self.stream.write(json.dumps({'execute': name}))
        self.stream.flush()
        while True:
            reply = json.loads(self.stream.readline())
            if 'return' in reply:
                return reply['return']
            if 'error' in reply:
                fail('%s: %s' % (name, reply['error']))


def compare_lists(ours, theirs, key, where, each, partial=False):
    ours = {item[key]: item for item in ours}
    theirs = {item[key]: item for item in theirs}
    for name in theirs:
        if name not in ours and not (partial and (key == 'case' or 'default' in theirs[name] or
                                                  'type' not in theirs[name])):
            return '%s lacks %s' % (where, name)
    for name in ours:
        if name.startswith(OWN):
            continue
        if name not in theirs:
            return '%s has %s, QEMU does not' % (where, name)
        difference = each(ours[name], theirs[name], '%s.%s' % (where, name))
        if difference:
            return difference
    return None


class Comparison:
    def __init__(self, ours, theirs):
        self.ours = ours
        self.theirs = theirs
        self.seen = set()
        self.partial = False

    def features(self, ours, theirs, where):
        have, want = set(ours.get('features', [])), set(theirs.get('features', []))
        if have != want and not (self.partial and have < want):
            return '%s: features %s, QEMU %s' % (where, ours.get('features'),
                                                 theirs.get('features'))
        return None

    def member(self, ours, theirs, where):
        if ('default' in ours) != ('default' in theirs):
            return '%s: optional in one only' % where
        return self.features(ours, theirs, where) or \
            self.type(ours['type'], theirs['type'], where)

    def variant(self, ours, theirs, where):
        return self.type(ours['type'], theirs['type'], where)

    def type(self, our_name, their_name, where):
        if (our_name, their_name) in self.seen:
            return None
        self.seen.add((our_name, their_name))
        return self.entity(self.ours[our_name], self.theirs[their_name], where)

    def entity(self, ours, theirs, where):
        kind = ours['meta-type']
        if kind != theirs['meta-type']:
            return '%s: %s, QEMU %s' % (where, kind, theirs['meta-type'])
        difference = self.features(ours, theirs, where)
        if difference:
            return difference
        if kind == 'builtin':
            if ours['json-type'] != theirs['json-type']:
                return '%s: %s, QEMU %s' % (where, ours['json-type'], theirs['json-type'])
        elif kind == 'array':
            return self.type(ours['element-type'], theirs['element-type'], where + '[]')
        elif kind == 'enum':
            return compare_lists(ours['members'], theirs['members'], 'name', where, self.features,
                                 self.partial)
        elif kind == 'object':
            if ours.get('tag') != theirs.get('tag'):
                return '%s: tag differs' % where
            return compare_lists(ours['members'], theirs['members'], 'name', where,
                                 self.member, self.partial) or \
                compare_lists(ours.get('variants', []), theirs.get('variants', []), 'case', where,
                              self.variant, self.partial)
        elif kind == 'alternate':
            if len(ours['members']) != len(theirs['members']) and not self.partial:
                return '%s: number of branches differs' % where
        else:
            if ours.get('allow-oob', False) != (theirs.get('allow-oob', False) or where in OWN_OOB):
                return '%s: allow-oob differs' % where
            return self.type(ours['arg-type'], theirs['arg-type'], where + ' arguments') or \
                (kind == 'command' and
                 self.type(ours['ret-type'], theirs['ret-type'], where + ' returns'))
        return None


def check_qemu(table, program):
    program = shutil.which(program)
    if not program:
        print('SKIP: QEMU is not installed')
        sys.exit(77)
    comparison = Comparison(table, index(Qemu(program).schema))
    count = 0
    for name, entity in table.items():
        if entity['meta-type'] in ('command', 'event') and not name.startswith(OWN):
            if name not in comparison.theirs:
                fail('QEMU has no ' + name)
            comparison.partial = name in PARTIAL
            difference = comparison.entity(entity, comparison.theirs[name], name)
            if difference:
                fail(difference)
            count += 1
    print('%d commands and events are as QEMU has them' % count)


def main():
    entities = json.loads(subprocess.run([sys.argv[2]], check=True, stdout=subprocess.PIPE).stdout)
    table = index(entities)
    if sys.argv[1] == 'own':
        check_own(table)
    else:
        check_qemu(table, sys.argv[3])


main()

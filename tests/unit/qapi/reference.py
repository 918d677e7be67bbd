#!/usr/bin/env python3
"""Checks the HTML manual that godwit-qapi makes.

    reference.py MANUAL SCHEMA...

Every link leads to an anchor of the page, every anchor is there once, the tags are balanced, and
each definition of the schema's files has its anchor and stands in the index.
"""

import re
import sys
from html.parser import HTMLParser

VOID = {'meta', 'br', 'hr', 'img', 'link', 'input'}
BUILTIN = {'str', 'number', 'int', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32',
           'uint64', 'size', 'bool', 'null', 'any', 'QType'}


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.errors = []
        self.ids = set()
        self.links = []
        self.open = []
        self.in_index = False
        self.index = set()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == 'id':
                if value in self.ids:
                    self.errors.append('anchor %s is there twice' % value)
                self.ids.add(value)
                self.in_index |= value == 'index.'
            elif name == 'href':
                self.links.append(value)
                if self.in_index:
                    self.index.add(value[1:])
            elif name == 'src':
                self.errors.append('the page needs ' + value)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append('unbalanced </%s> in line %d' % (tag, self.getpos()[0]))

    def check(self, names):
        if self.open:
            self.errors.append('not closed: %s' % self.open)
        for link in self.links:
            if not link.startswith('#') or link[1:] not in self.ids:
                self.errors.append('%s leads nowhere' % link)
        for name in names:
            if name not in self.ids:
                self.errors.append('%s is not described' % name)
            if name not in self.index:
                self.errors.append('%s is not in the index' % name)
        for name in self.index - names:
            self.errors.append('%s is in the index only' % name)
        for name in BUILTIN - self.ids:
            self.errors.append('built-in type %s is not described' % name)


def definitions(path):
    with open(path) as schema:
        return set(re.findall(r"^\{ *'(?:enum|struct|union|alternate|command|event)': *'([^']+)'",
                              schema.read(), re.M))


def main():
    page = Page()
    names = set()
    for path in sys.argv[2:]:
        names |= definitions(path)
    with open(sys.argv[1], encoding='utf-8') as manual:
        text = manual.read()
    page.feed(text)
    page.close()
    page.check(names)
    if 'everything' in sys.argv[2]:
        for piece in ('1 &lt; 2 &amp; 3 &gt; 2', '<strong>strong</strong>', '<em>emphasized</em>',
                      '<code>code</code>', '<ol>', 'an item\nof two lines',
                      '&lt;a href=&quot;#nowhere&quot;&gt;', '<a href="#Plain"><code>Plain</code></a>',
                      'array of <a href="#Plain">',
                      'Not documented.', 'when <code>kind</code> is <code>square</code>'):
            if piece not in text:
                page.errors.append('missing: ' + piece)
    for error in page.errors:
        print('FAIL:', error)
    print('%d definitions, %d links' % (len(names), len(page.links)))
    sys.exit(1 if page.errors or not names else 0)


main()

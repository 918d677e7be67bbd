"""What of the schema the rows have really brought about: noted as it is seen on the wire.

Items are `Enum.value`, `Struct.member` (of booleans `Struct.member=true` and `=false`), `command NAME`,
`event NAME`, `NAME.member` for what commands take and events tell.
"""
import ast
import functools
import glob
import os
import re


@functools.lru_cache(None)
def schema_parse(path):
    """The definitions of a QAPI module: JSON in single quotes, with comments."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"^\s*#.*$", "", file.read(), flags=re.MULTILINE)
    text = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", text))
    result, at = [], text.find("{")
    while at >= 0:
        depth, end = 0, at
        while True:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        result.append(ast.literal_eval(text[at:end]))
        at = text.find("{", end)
    return result


class Coverage:
    def __init__(self, path, other_events=()):
        self.other_events = other_events
        self.types, self.commands, self.events, self.seen = {}, {}, {}, set()
        self.others = {}  # of the other modules: those events, and types
        for d in schema_parse(path):
            kind = next(k for k in ("enum", "struct", "union", "command", "event", "include",
                                    "pragma") if k in d)
            if kind in ("enum", "struct", "union"):
                self.types[d[kind]] = d
            elif kind == "command":
                self.commands[d[kind]] = d
            elif kind == "event":
                self.events[d[kind]] = d
        if other_events:
            self.read_others(path)

    def read_others(self, path):
        for other in set(glob.glob(os.path.join(os.path.dirname(path), "*.json"))) - {path}:
            for d in schema_parse(other):
                for kind in ("enum", "struct"):
                    if kind in d:
                        self.others[d[kind]] = d
                if d.get("event") in self.other_events:
                    self.events[d["event"]] = d

    def type(self, name):
        return self.types.get(name) or self.others.get(name)

    # ---- all there is

    def members(self, data):
        data = self.type(data).get("data", {}) if isinstance(data, str) else data or {}
        return {name.lstrip("*"): t if isinstance(t, str) else t["type"]
                for name, t in data.items()}

    def member_items(self, owner, members):
        for name, t in members.items():
            if t == "bool":
                yield f"{owner}.{name}=true"
                yield f"{owner}.{name}=false"
            else:
                yield f"{owner}.{name}"

    def all(self):
        items = {f"event {name}" for name in self.other_events}
        for name, d in self.types.items():
            if "enum" in d:
                items |= {f"{name}.{v if isinstance(v, str) else v['name']}" for v in d["data"]}
            elif "union" in d:
                items |= {f"{name}.{branch}" for branch in d["data"]}
            else:
                items |= set(self.member_items(name, self.members(d["data"])))
        for kind, all_of in (("command", self.commands), ("event", self.events)):
            for name, d in all_of.items():
                items.add(f"{kind} {name}")
                items |= set(self.member_items(name, self.members(d.get("data"))))
        for name in self.other_events:  # and the values that their members may have
            for t in self.members(self.events[name].get("data")).values():
                d = self.others.get(t, {})
                items |= {f"{t}.{v if isinstance(v, str) else v['name']}" for v in d.get("data", ())
                          if "enum" in d}
        return items

    # ---- what was seen

    def walk(self, owner, members, value):
        for name, item in value.items():
            t = members.get(name)
            if t is None:
                continue
            if t == "bool":
                self.seen.add(f"{owner}.{name}={str(item).lower()}")
            else:
                self.seen.add(f"{owner}.{name}")
                self.walk_type(t, item)

    def walk_type(self, t, value):
        d = self.type(t) if isinstance(t, str) else None
        if d is None:
            return
        if "enum" in d:
            self.seen.add(f"{t}.{value}")
        elif "union" in d:
            branch = value[d["discriminator"]]
            self.seen.add(f"{t}.{branch}")
            base = d["base"]
            self.walk(base if isinstance(base, str) else t, self.members(base), value)
            self.walk_type(d["data"][branch], value)
        else:
            self.walk(t, self.members(d["data"]), value)

    def command(self, name, arguments, value):
        d = self.commands.get(name)
        if d:
            self.seen.add(f"command {name}")
            self.walk(name, self.members(d.get("data")), arguments or {})
            if "returns" in d:
                self.walk_type(d["returns"], value)

    def event(self, name, data):
        d = self.events.get(name)
        self.seen.add(f"event {name}")
        if d:
            self.walk(name, self.members(d.get("data")), data or {})

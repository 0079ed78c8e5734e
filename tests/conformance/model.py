#!/usr/bin/env python3
"""Writes the conformance vectors: `python3 model.py` writes vectors/*.json, `--check` says whether they are what it would write.

Python's standard library alone; arithmetic.py, machine.py and cases.py beside this file. Written from docs/ without the Rust code, so that the
two can disagree."""

import json
import sys

from cases import GROUPS
from machine import HERE, Chip, Machine, parse_queue


def queue_name(queue):
    kind = queue[0]
    if kind in (1, 4):
        return f"{'vxm' if kind == 1 else 'c2c'}.{queue[1]}"
    port = f".{('lw', 'iw', 'abc', 'acc')[queue[3]]}" if kind == 2 else ""
    return f"{('mem', '', 'mxm', 'sxm')[kind]}.{'ew'[queue[1]]}{queue[2]}{port}"


def vector(case, machine):
    program = case.program()
    initial = dict(case.memory)
    outcome = machine.run(program)
    out = {
        "name": case.name,
        "chips": case.chips,
        "memory": {f"{place}:{word}": content.hex() for (place, word), content in sorted(initial.items())},
        "regions": [{"kind": kind, "at": f"{place}:{word}", "words": count} for kind, place, word, count in case.regions],
        "queues": {name: case.queues[name] for name in sorted(case.queues, key=parse_queue)},
        "binary": {name: b"".join(item.bits() for item in case.program()["queues"][parse_queue(name)]).hex() for name in sorted(case.queues, key=parse_queue)},
    }
    if case.stated is not None:
        out["stated"] = case.stated
    if "fault" in outcome:
        fault = outcome["fault"]
        queue = fault["queue"]
        out["fault"] = {"rule": fault["rule"], "cycle": fault["cycle"], "chip": fault["chip"]}
        if queue is not None:
            out["fault"] |= {"queue": queue_name(queue), "item": fault["item"]}
        return out
    changed = {place: content for place, content in outcome["final"].items() if initial.get(place) != content}
    out["cycles"] = outcome["cycles"]
    out["activity"] = outcome["activity"]
    out["final"] = {f"{place}:{word}": content.hex() for (place, word), content in sorted(changed.items())}
    return out


def text(vectors):
    """One key a line, so that differences are readable and files stay small."""
    lines = lambda v: ",\n".join(f"    {json.dumps(key)}: {json.dumps(part)}" for key, part in v.items())
    return "[\n" + ",\n".join("  {\n" + lines(v) + "\n  }" for v in vectors) + "\n]\n"


def main():
    chip = Chip(HERE / "chip.toml")
    links = {(0, 0): (1, 0), (1, 0): (0, 0)}
    stale = []
    for group, cases in GROUPS.items():
        found = text([vector(case, Machine(chip, links, 2)) for case in cases()])
        path = HERE / "vectors" / f"{group}.json"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != found:
                stale.append(path.name)
        else:
            path.write_text(found)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run python3 tests/conformance/model.py")


main()

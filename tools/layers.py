"""Holds the dependency direction of ARCHITECTURE.md against the compiler.

For every folder of src/ and every door header: compiles one line that includes the header, with
exactly the include path that the folder's own files are compiled with. What may be seen must
compile, what may not must fail. layers.py BUILD-DIR
"""
import json
import os
import re
import subprocess
import sys

DOORS = {
    "base": "str.h", "net": "client.h", "store": "store.h", "text": "tokenizer.h",
    "engine": "engine.h", "task": "call.h", "security": "security.h", "provider": "provider.h",
    "model": "model.h", "inference": "inference.h", "api": "api.h",
}
MAY_SEE = {
    "base": [],
    "net": ["base"],
    "store": ["base"],
    "text": ["base"],
    "engine": ["base"],
    "task": ["base"],
    "security": ["base", "store"],
    "provider": ["base", "task"],
    "model": ["base", "task", "text", "engine", "store", "net"],
    "inference": ["base", "task", "text", "net", "store", "provider", "model"],
    "api": ["base", "task", "net", "store", "security", "model", "inference"],
}


def include_flags(build, folder):
    with open(os.path.join(build, "compile_commands.json")) as f:
        for entry in json.load(f):
            if re.search(r"/src/%s/[^/]+\.c$" % folder, os.path.join(build, entry["file"])):
                words = entry["command"].split()
                return [w for w in words if w.startswith("-I")]
    sys.exit("no file of src/%s is compiled" % folder)


def compiles(build, flags, header):
    command = ["cc", "-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-xc", "-"] + flags
    done = subprocess.run(command, input='#include "%s"\n' % header, text=True, cwd=build,
                          capture_output=True)
    return done.returncode == 0


def main(build):
    wrong = []
    for folder, allowed in MAY_SEE.items():
        flags = include_flags(build, folder)
        for other, header in DOORS.items():
            may = other == folder or other in allowed
            if compiles(build, flags, header) != may:
                wrong.append("src/%s %s include %s/%s" % (
                    folder, "cannot" if may else "can", other, header))
    print("\n".join(wrong))
    return 1 if wrong else 0


sys.exit(main(sys.argv[1]))

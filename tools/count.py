"""Prints "PASSED FAILED" of a report: count.py meson testlog.json | count.py junit report.xml.

A report that is missing or holds nothing counts as one failure.
"""
import json
import sys
import xml.etree.ElementTree as xml


def meson(path):
    good = bad = 0
    with open(path) as f:
        for line in f:
            result = json.loads(line)["result"]
            if result in ("OK", "EXPECTEDFAIL"):
                good += 1
            elif result != "SKIP":
                bad += 1
    return good, bad


def junit(path):
    good = bad = 0
    for suite in xml.parse(path).getroot().iter("testsuite"):
        total = int(suite.get("tests", 0))
        broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        good += total - broken - int(suite.get("skipped", 0))
        bad += broken
    return good, bad


try:
    counts = {"meson": meson, "junit": junit}[sys.argv[1]](sys.argv[2])
except (OSError, ValueError, xml.ParseError):
    counts = (0, 1)
print(*(counts if sum(counts) else (0, 1)))

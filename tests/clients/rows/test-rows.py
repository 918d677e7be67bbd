#!/usr/bin/env python3
"""Every run state, action, cause and event, brought about by a real guest: one row each and more.

Usage: test-rows.py SCHEMA COMPATIBILITY [PATTERN]

$GODWIT is the program: godwit, or QEMU as the oracle of the rows themselves; $ACCEL the accelerator (tcg). SCHEMA is the module
run-state.json: on godwit the test fails when it declares something that no row has shown on the wire and
absent.py does not excuse, or excuses what a row has shown. COMPATIBILITY is docs/compatibility.md, which
must give the reason of each difference. PATTERN picks rows by name.
"""
import concurrent.futures
import os
import re
import shutil
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import rowtest  # noqa: E402
import rows_actions  # noqa: E402
import rows_block  # noqa: E402
import rows_control  # noqa: E402
import rows_dump  # noqa: E402
import rows_migrate  # noqa: E402
import rows_power  # noqa: E402
import rows_together  # noqa: E402
import rows_watchdog  # noqa: E402
from absent import ABSENT, OTHER_EVENTS  # noqa: E402
from coverage import Coverage  # noqa: E402

ROWS = (rows_control.ROWS + rows_actions.ROWS + rows_watchdog.ROWS + rows_power.ROWS
        + rows_together.ROWS + rows_block.ROWS + rows_dump.ROWS
        + rows_migrate.ROWS)
# For rows whose steps have to come within a second of the host's clock, which a busy host may not do; and
# for QEMU, some of whose events race with each other and with its replies.
TRIES = 5
TRIES_OF_QEMU = 3
WORKERS = 8 if rowtest.IS_GODWIT else 4


# Rows that cannot be shown under KVM, and those that an emulating KVM (no VMX or SVM here) lacks besides.
KVM_LACKS = "memory failure|machine checks|internal.error|memory of the program|host-error"
EMULATED_KVM_LACKS = "falls|nmi|NMI|triple|hyper-v|human monitor's commands"


def lacking():
    """Names of rows that this accelerator cannot show, or None; the reason to skip all of them, or None."""
    if rowtest.ACCEL != "kvm":
        return None, None
    result = rowtest.godwit.run("-accel", "kvm", "-kernel", rowtest.guest("hello"), "-display", "none")
    if result.returncode:
        return None, result.stderr.strip()
    if rowtest.godwit.hardware_virtualisation():
        return KVM_LACKS, None
    return f"{KVM_LACKS}|{EMULATED_KVM_LACKS}", None


def run(row, schema):
    """(text of a failure or None, what was seen, seconds)."""
    for left in reversed(range(TRIES if row.within_a_second else 1 if rowtest.IS_GODWIT else TRIES_OF_QEMU)):
        result = run_once(row, schema)
        if not result[0]:
            break
        if left:
            print(f"once more: row '{row.name}' {result[0]}")
    return result


def run_once(row, schema):
    coverage, start = Coverage(schema, OTHER_EVENTS), time.monotonic()
    try:
        rowtest.Run(row, coverage).go()
    except rowtest.Skip as e:
        print(f"skipped: {row.name}: {e}")
        return None, coverage.seen, 0
    except AssertionError as e:
        return str(e), coverage.seen, time.monotonic() - start
    except Exception:
        return traceback.format_exc(), coverage.seen, time.monotonic() - start
    return None, coverage.seen, time.monotonic() - start


def options_seen(row):
    """Actions that options set count as seen where their row passes."""
    text = " ".join(row.args).replace("-no-reboot", "reboot=shutdown").replace(
        "-no-shutdown", "shutdown=pause").replace("-watchdog-action ", "watchdog=")
    return {f"{key.capitalize()}Action.{value}" for key, value in
            re.findall(r"(reboot|shutdown|panic|watchdog)=([a-z-]+)", text)}


def check_documented(path):
    with open(path, encoding="utf-8") as file:
        told = {line.split("|")[1].strip() for line in file if line.startswith("|")}
    return [f"{row.name}: '{row.differs}' is no line of {path}"
            for row in ROWS if row.differs and row.differs not in told]


def check_coverage(schema, seen):
    all_items = Coverage(schema, OTHER_EVENTS).all()
    faults = [f"{item}: no row shows it" for item in sorted(all_items - seen - set(ABSENT))]
    faults += [f"{item}: a row shows it, absent.py says otherwise"
               for item in sorted(seen & set(ABSENT))]
    faults += [f"{item}: absent.py knows it, the schema does not"
               for item in sorted(set(ABSENT) - all_items)]
    return faults


def main():
    schema, compatibility = sys.argv[1:3]
    pattern = sys.argv[3] if len(sys.argv) > 3 else ""
    side = "godwit" if rowtest.IS_GODWIT else "qemu"
    if not shutil.which(rowtest.godwit.GODWIT):
        print(f"skipped: {rowtest.godwit.GODWIT} is not there")
        sys.exit(77)
    absent_here, skip = lacking()
    if skip:
        print(f"skipped: {skip}")
        sys.exit(77)
    rows = [row for row in ROWS if row.only in (None, side) and re.search(pattern, row.name)
            and not (absent_here and re.search(absent_here, row.name))]
    faults, seen, times = [], set(), []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for row, result in zip(rows, pool.map(lambda row: run(row, schema), rows)):
            failure, items, seconds = result
            times.append((seconds, row.name))
            if failure:
                faults.append(f"row '{row.name}' {failure}")
            else:
                seen |= items | options_seen(row)
    faults += check_documented(compatibility)
    if rowtest.IS_GODWIT and not pattern and not absent_here:
        faults += check_coverage(schema, seen)
    for fault in faults:
        print(f"FAIL {fault}\n")
    for seconds, name in sorted(times)[-5:]:
        print(f"slow: {seconds:.1f} s {name}")
    names = [row.name for row in ROWS]
    for name in {n for n in names if names.count(n) > 1}:
        faults.append(name)
        print(f"FAIL two rows named '{name}'")
    if rowtest.IS_GODWIT:
        for item, reason in sorted(ABSENT.items()):
            print(f"absent: {item}: {reason}")
    print(f"{len(rows)} rows, {sum(bool(r.differs) for r in rows)} with a difference on purpose, "
          f"{sum(r.only not in (None, side) for r in ROWS)} for the other program only, "
          f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

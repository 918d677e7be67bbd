"""The end of a test that also runs on QEMU, as the oracle of itself. QEMU's own threads race, and its software
CPU now and then loses a write on a busy host: what fails there is tried again. On Godwit nothing is."""
import sys
import unittest

TRIES_OF_QEMU = 3


def main(is_qemu):
    result = unittest.main(exit=False, verbosity=2).result
    for _ in range(TRIES_OF_QEMU - 1 if is_qemu else 0):
        failed = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
        if not failed:
            break
        print("once more:", *sorted(failed), file=sys.stderr)
        suite = unittest.defaultTestLoader.loadTestsFromNames(sorted(failed))
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful())

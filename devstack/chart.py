"""`make chart`: lints the Helm chart, renders every example, and validates every object.

kubernetes-validate (PyPI) contains the schemas of the Kubernetes API, so it needs no network.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from devstack import ROOT

CHART: Final = ROOT / "docker" / "chart"
#: The oldest and the newest release of Kubernetes to validate for.
KUBERNETES: Final = ("1.27", "1.37")
#: API groups that kubernetes-validate has no schemas for: KEDA and the Prometheus Operator.
UNCHECKED: Final = ("keda.sh", "monitoring.coreos.com")


def main() -> int:
    """Returns 0 if the chart is valid. Prints what is not."""
    tools = {name: shutil.which(name) for name in ("helm", "kubernetes-validate")}
    helm, validate = tools.values()
    if helm is None or validate is None:
        missing = " and ".join(name for name, path in tools.items() if path is None)
        print(f"chart: install {missing}: not found on PATH", file=sys.stderr)
        return 1
    failed = 0
    for example in sorted((CHART / "examples").glob("*.yaml")):
        values = ["--values", str(example)]
        failed += subprocess.run([helm, "lint", "--strict", CHART, *values], check=False).returncode
        # Without this, a Helm that was built without release flags assumes Kubernetes 1.20.
        template: list[str | Path] = [
            helm,
            "template",
            "notify",
            CHART,
            *values,
            "--kube-version",
            KUBERNETES[0],
        ]
        rendered = subprocess.run(template, stdout=subprocess.PIPE, check=False)
        failed += rendered.returncode
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{example.stem}.yaml"
            file.write_text(yaml.safe_dump_all(checked(rendered.stdout)))
            for version in KUBERNETES:
                command = [validate, "--strict", "--quiet", "-k", version, file]
                failed += subprocess.run(command, check=False).returncode
    return 1 if failed else 0


def checked(rendered: bytes) -> list[object]:
    """The rendered objects, without those that kubernetes-validate has no schemas for."""
    objects = filter(None, yaml.safe_load_all(rendered))
    return [each for each in objects if each["apiVersion"].partition("/")[0] not in UNCHECKED]


if __name__ == "__main__":
    sys.exit(main())

"""`make chart`: lints and renders the Helm chart with each of its examples, and validates every object.

kubeconform fetches the schemas of the Kubernetes API from the Internet, unless KUBERNETES_SCHEMAS says
where else they are, as its option -schema-location does.
"""

import os
import shutil
import subprocess
import sys
from typing import Final

from devstack import ROOT

CHART: Final = ROOT / "docker" / "chart"
#: The oldest and the newest release of Kubernetes that it is validated for.
KUBERNETES: Final = ("1.30.0", "1.37.0")


def main() -> int:
    """0 if all is well; prints what is not."""
    tools = {name: shutil.which(name) for name in ("helm", "kubeconform")}
    helm, kubeconform = tools["helm"], tools["kubeconform"]
    if helm is None or kubeconform is None:
        missing = " and ".join(name for name, path in tools.items() if path is None)
        print(f"chart: install {missing}, in your PATH", file=sys.stderr)
        return 1
    # Of KEDA and the Prometheus Operator there are no schemas: their objects are skipped, and named.
    validate = [kubeconform, "-strict", "-summary", "-ignore-missing-schemas"]
    if schemas := os.environ.get("KUBERNETES_SCHEMAS"):
        validate += ["-schema-location", schemas]
    for example in sorted((CHART / "examples").glob("*.yaml")):
        values = ["--values", str(example)]
        subprocess.run([helm, "lint", "--strict", str(CHART), *values], check=True)
        rendered = subprocess.run(
            [helm, "template", "notify", str(CHART), *values], stdout=subprocess.PIPE, check=True
        ).stdout
        for version in KUBERNETES:
            done = subprocess.run(
                [*validate, "-kubernetes-version", version], input=rendered, check=False
            )
            if done.returncode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

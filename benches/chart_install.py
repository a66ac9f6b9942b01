#!/usr/bin/env python3
"""A chart of ten objects installed through Longshore, from the request to the end of its operation, against `helm install --wait` of the same
package by the same account's own kubeconfig into the same namespace, in turns. What Longshore does beside it: it renders first, holds every object
to the tenants' rules, lets the cluster try all of them, and keeps what it will install."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import urllib.request

from common import ADMIN_PASSWORD, FOLDER, PAIRS, Result, Server, call, ratios, rotated, spread, wait_until
from workloads import kubectl

HELM = os.environ.get("LONGSHORE_BENCH_HELM", "helm")
NAMESPACE = "bench-test"


def package():
    """A chart as people write them: a deployment without pods, its service, and settings."""
    name = "{{ .Release.Name }}"
    labels = '{{- define "web.labels" }}\nlabels:\n  app.kubernetes.io/name: {{ .Chart.Name }}\n  app.kubernetes.io/instance: {{ .Release.Name }}\n{{- end }}\n'
    files = {
        "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        "values.yaml": "replicas: 0\ntext: hello\n",
        "templates/_helpers.tpl": labels,
        "templates/deployment.yaml": f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  {{{{- include "web.labels" . | indent 2 }}}}
spec:
  replicas: {{{{ .Values.replicas }}}}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: web, image: "registry.invalid/web:1", imagePullPolicy: Always, resources: {{limits: {{cpu: 100m, memory: 64Mi}}}}}}]}}
""",
        "templates/service.yaml": f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n",
    }
    for number in range(8):
        files[f"templates/settings-{number}.yaml"] = (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}-{number}\ndata:\n  text: {{{{ .Values.text | quote }}}}\n")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"web/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def main():
    result = Result("chart_install")
    role = subprocess.run([os.environ["LONGSHORE_BENCH_BINARY"], "cluster", "role"], capture_output=True, text=True, check=True).stdout
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=role)
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": kubectl("-n", "longshore-system", "create", "token", "longshore", "--duration=2h").strip()}
    server = Server("chart_install", engine=False, settings={"LONGSHORE_CHARTS_HELM": HELM})
    home = FOLDER / "chart_install"
    with server:
        admin = server.login("admin", ADMIN_PASSWORD)
        call(f"{server.url}/api/v1/clusters", "POST", {"name": "bench", "kubeconfig": json.dumps(config)}, admin)
        token = server.api_token(server.register("bench"))
        call(f"{server.url}/api/v1/namespaces", "POST", {"name": "test"}, token)
        own = wait_until("the namespace", 60, lambda: call(f"{server.url}/api/v1/namespaces/test/kubeconfig", "POST", {}, token)[1], 0.2)
        (home / "kubeconfig").write_text(own["kubeconfig"])
        bytes_of_chart = package()
        (home / "web-1.0.0.tgz").write_bytes(bytes_of_chart)
        upload = urllib.request.Request(f"{server.url}/charts/bench/api/charts", bytes_of_chart,
                                        {"Authorization": f"Bearer {token}", "Content-Type": "application/gzip"}, method="POST")
        urllib.request.urlopen(upload).read()
        environment = {**os.environ, "KUBECONFIG": str(home / "kubeconfig"), "HELM_CACHE_HOME": f"{home}/cache",
                       "HELM_CONFIG_HOME": f"{home}/config", "HELM_DATA_HOME": f"{home}/data"}

        def helm(*words):
            done = subprocess.run([HELM, *words, "--namespace", NAMESPACE], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"helm {' '.join(words)}: {done.stderr}")

        def ended(accepted):
            url = f"{server.url}/api/release-operations/{accepted['operation']['id']}"
            return wait_until("the operation", 120, lambda: (lambda seen: seen["state"] in ("succeeded", "failed") and seen)(call(url, token=token)[1]), 0.005)

        def longshore(name):
            began = time.monotonic()
            accepted = call(f"{server.url}/api/releases", "POST", {"name": name, "chart": "bench/web"}, token)[1]
            operation = ended(accepted)
            spent = time.monotonic() - began
            assert operation["state"] == "succeeded", operation
            ended(call(f"{server.url}/api/releases/{name}", "DELETE", token=token)[1])
            return spent

        def plain(name):
            began = time.monotonic()
            helm("install", name, str(home / "web-1.0.0.tgz"), "--wait")
            spent = time.monotonic() - began
            helm("uninstall", name, "--wait")
            return spent

        ours, theirs = [], []
        for number in range(-1, PAIRS * 2):
            pair = {}
            for arm in rotated(("longshore", "helm"), number % 2):
                pair[arm] = longshore(f"ours-{number + 1}") if arm == "longshore" else plain(f"theirs-{number + 1}")
            if number >= 0:
                ours.append(pair["longshore"])
                theirs.append(pair["helm"])
        result.figure("install", "a chart of ten objects installed through Longshore", "s", spread(ours), digits=2)
        result.figure("helm", "`helm install --wait` of the same chart", "s", spread(theirs), digits=2)
        result.figure("ratio", "Longshore / Helm, on the clock", "×", ratios(ours, theirs), goal=1.15, digits=2)
        call(f"{server.url}/api/v1/namespaces/test", "DELETE", token=token)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

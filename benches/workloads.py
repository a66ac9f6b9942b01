#!/usr/bin/env python3
"""A cluster of one real node and ten that only say that they are there, with 1,000 pods in an account's namespace. How long until a pod's
change is seen, against `kubectl get --watch`, in turns; the page data of 1,000 pods, and what of it the API server hears; memory of a
mirrored pod; `create_deployment` against `kubectl apply --server-side`; reading a file of 256 KiB; and a bomb of aliases."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

from common import ADMIN_PASSWORD, FOLDER, PAIRS, Result, Server, call, forget_peak, memory, percentile, ratios, spread, wait_until, wrk

KUBECONFIG = os.environ.get("LONGSHORE_BENCH_KUBECONFIG", "")
KUBECTL = [os.environ.get("LONGSHORE_BENCH_KUBECTL", "kubectl"), "--kubeconfig", KUBECONFIG]
PODS = int(os.environ.get("LONGSHORE_BENCH_PODS", "1000"))
NODES = 10
CHANGES = 20
# Longer than the server keeps the memory of a login for the next one.
GIVEN_BACK_SECS = 25
NAMESPACE = "bench-test"


def kubectl(*words, text=None):
    done = subprocess.run([*KUBECTL, *words], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"kubectl {' '.join(words)}: {done.stderr}")
    return done.stdout


class Administrator:
    """The API server on one connection, as the cluster's administrator: a process for each of some thousand requests would take minutes."""

    def __init__(self):
        config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        pair = FOLDER / "administrator.pem"
        FOLDER.mkdir(parents=True, exist_ok=True)
        pair.touch(mode=0o600)
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        context.load_cert_chain(pair)
        server = urllib.parse.urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(server.hostname, server.port, context=context, timeout=60)

    def ask(self, method, path, body=None, kind="application/json", expect=range(200, 300)):
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, {"Content-Type": kind} if text else {})
        answer = self.connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status not in expect:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]}")
        return text

    def reads_of_pods(self):
        """How often anybody has listed or read pods; watches are not counted."""
        total = 0
        for line in self.ask("GET", "/metrics").splitlines():
            is_read = 'verb="LIST"' in line or 'verb="GET"' in line
            if line.startswith("apiserver_request_total{") and 'resource="pods"' in line and is_read and 'subresource=""' in line:
                total += float(line.rsplit(" ", 1)[1])
        return total


def restarts(administrator, pod, count):
    """Says of a pod that its container was started so often again."""
    container = {"name": "web", "image": "nowhere.invalid/x:1", "imageID": "", "ready": True, "started": True, "restartCount": count,
                 "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    status = {"phase": "Running", "podIP": "10.244.99.1", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [container],
              "conditions": [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/status"
    administrator.ask("PATCH", path, {"status": status}, "application/strategic-merge-patch+json")


def fill(administrator):
    """Nodes that nobody runs, and pods that are said to run on them."""
    for number in range(NODES):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"said-{number}", "labels": {"kubernetes.io/os": "linux"}}}
        administrator.ask("POST", "/api/v1/nodes", node, expect=(201, 409))
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}], "capacity": {"pods": "1000"}}}
        administrator.ask("PATCH", f"/api/v1/nodes/said-{number}/status", ready, "application/strategic-merge-patch+json")
    for number in range(PODS):
        labels = {"app": f"web-{number // 20}", "pod-template-hash": f"{number // 20:08x}"}
        container = {"name": "web", "image": "nowhere.invalid/x:1", "ports": [{"containerPort": 8000}],
                     "env": [{"name": f"SETTING_{n}", "value": "something"} for n in range(5)]}
        spec = {"nodeName": f"said-{number % NODES}", "containers": [container], "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number:04}", "labels": labels}, "spec": spec}
        administrator.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
        restarts(administrator, f"pod-{number:04}", 0)


class Watch:
    """`kubectl get pod --watch`, and when it told of what."""

    def __init__(self, pod):
        words = ["-n", NAMESPACE, "get", "pod", pod, "--watch", "--no-headers", "-o", "jsonpath={.status.containerStatuses[0].restartCount}{'\\n'}"]
        self.process = subprocess.Popen([*KUBECTL, *words], stdout=subprocess.PIPE, text=True)
        self.told = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.told.setdefault(line.strip(), time.monotonic())

    def end(self):
        self.process.terminate()
        self.process.wait()


class Page:
    """The pods of the small namespace, asked for again and again on one connection."""

    def __init__(self, server, token, namespace):
        parts = urllib.parse.urlsplit(server.url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.path, self.headers = f"/api/v1/namespaces/{namespace}/pods", {"Authorization": f"Bearer {token}"}

    def get(self):
        self.connection.request("GET", self.path, headers=self.headers)
        answer = self.connection.getresponse()
        return json.loads(answer.read())


def seen(administrator, server, token, rounds):
    """Milliseconds from a pod's change until it is seen, in a namespace with this one pod: by our page data, and by kubectl."""
    pod = "pod-0000"
    watch, page = Watch(pod), Page(server, token, NAMESPACE)
    ours, theirs = [], []
    try:
        wait_until("kubectl watches", 60, lambda: "0" in watch.told)
        for count in range(1, rounds + 1):
            began = time.monotonic()
            changer = threading.Thread(target=restarts, args=(administrator, pod, count))
            changer.start()
            wait_until("the page shows it", 60, lambda: any(row["restarts"] == count for row in page.get()), 0.0005)
            ours.append((time.monotonic() - began) * 1000)
            changer.join()
            wait_until("kubectl tells it", 60, lambda: str(count) in watch.told)
            theirs.append((watch.told[str(count)] - began) * 1000)
    finally:
        watch.end()
    return ours, theirs


def deployment(name):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nowhere.invalid/x:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


def create(server, token, name):
    """Milliseconds of `/deploy/create_deployment`, as the seed's front end sends it."""
    boundary = "longshore-bench"
    body = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"namespace\"\r\n\r\ntest\r\n"
            f"--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}.yaml\"\r\n\r\n{deployment(name)}\r\n--{boundary}--\r\n")
    began = time.monotonic()
    call(f"{server.url}/deploy/create_deployment", "POST", body, token, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    return (time.monotonic() - began) * 1000


def forget(server, token, name):
    """Deletes a deployment as the seed's front end does."""
    call(f"{server.url}/deploy/delete_deployment", "POST", {"namespace": "test", "deployment": name}, token)


def apply(name):
    """Milliseconds of `kubectl apply --server-side`."""
    began = time.monotonic()
    kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "-", text=deployment(name))
    return (time.monotonic() - began) * 1000


def large_file():
    """As much as a file may hold, right to its last document: what is measured ends before a cluster is asked."""
    def document(number):
        data = "".join(f"  key{line}: {'x' * 100}\n" for line in range(114))
        return f"apiVersion: v1\nkind: {'ConfigMap' if number < 19 else 'Nothing'}\nmetadata: {{name: conf{number}}}\ndata:\n{data}"
    text = "---\n".join(document(number) for number in range(20))
    assert 250_000 < len(text) <= 256 << 10, len(text)
    return text


def refused(server, token, text):
    """Milliseconds until a file is refused, and MiB that it took meanwhile."""
    before = memory(server.pid)["rss"]
    forget_peak(server.pid)
    began = time.monotonic()
    call(f"{server.url}/api/v1/workloads", "POST", {"manifest": text}, token, expect=(422,))
    return (time.monotonic() - began) * 1000, max(memory(server.pid)["peak"] - before, 0)


def settled(pid):
    """MiB of memory of the server's own, once it has not become less for as long as it takes to give back what was needed for a moment."""
    least, since = memory(pid)["anonymous"], time.monotonic()
    while time.monotonic() - since < GIVEN_BACK_SECS:
        time.sleep(1)
        now = memory(pid)["anonymous"]
        if now < least - 0.25:
            least, since = now, time.monotonic()
    return memory(pid)["anonymous"]


def bomb():
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi"):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    return "\n".join(lines)


def main():
    result = Result("workloads")
    administrator = Administrator()
    role = subprocess.run([os.environ["LONGSHORE_BENCH_BINARY"], "cluster", "role"], capture_output=True, text=True, check=True).stdout
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=role)
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": kubectl("-n", "longshore-system", "create", "token", "longshore", "--duration=2h").strip()}
    limits = {"LONGSHORE_KUBERNETES_PODS": str(PODS + 100), "LONGSHORE_KUBERNETES_CPU_MILLIS": "10000000",
              "LONGSHORE_KUBERNETES_MEMORY_BYTES": str(10 << 40), "LONGSHORE_KUBERNETES_STORAGE_BYTES": str(10 << 40)}
    server = Server("workloads", engine=False, settings=limits)
    with server:
        admin = server.login("admin", ADMIN_PASSWORD)
        call(f"{server.url}/api/v1/clusters", "POST", {"name": "bench", "kubeconfig": json.dumps(config)}, admin)
        token = server.api_token(server.register("bench"))
        call(f"{server.url}/api/v1/namespaces", "POST", {"name": "test"}, token)
        call(f"{server.url}/api/v1/namespaces/test/pods", token=token)

        file, laughs = large_file(), bomb()
        validated, bombs, grown = [], [], []
        for round_number in range(-1, PAIRS * 4):
            spent, _ = refused(server, token, file)
            bombed, growth = refused(server, token, laughs)
            if round_number >= 0:
                validated.append(spent)
                bombs.append(bombed)
                grown.append(growth)
        # What the logins above needed is given back by and by, and is not the pods'.
        before = settled(server.pid)
        fill(administrator)
        page = f"{server.url}/api/v1/namespaces/test/pods"
        wait_until("all pods are seen", 120, lambda: len(call(page, token=token)[1]) == PODS, 0.2)
        pods_kib = (settled(server.pid) - before) * 1024 / PODS
        heard, p90, asked = [], [], 0
        for _ in range(PAIRS):
            reads = administrator.reads_of_pods()
            run = wrk(page, server.pid, connections=1, headers=[f"Authorization: Bearer {token}"])
            heard.append(administrator.reads_of_pods() - reads)
            p90.append(run["p90_ms"])
            asked += run["requests"]
        ours, theirs = [], []
        for number in range(-1, PAIRS * 2):
            pair = {}
            for arm in ("longshore", "kubectl")[:: 1 if number % 2 else -1]:
                name = f"by-{arm}-{number + 1}"
                pair[arm] = create(server, token, name) if arm == "longshore" else apply(name)
            if number >= 0:
                ours.append(pair["longshore"])
                theirs.append(pair["kubectl"])
            # A namespace holds a few deployments only.
            forget(server, token, f"by-longshore-{number + 1}")
            kubectl("-n", NAMESPACE, "delete", "deployment", f"by-kubectl-{number + 1}")
        # The page of one pod is asked for as often as it goes, which that of a thousand would not allow.
        administrator.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%21%3Dweb-0", {"gracePeriodSeconds": 0})
        for number in range(1, min(20, PODS)):
            administrator.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/pod-{number:04}", {"gracePeriodSeconds": 0})
        wait_until("one pod is left", 120, lambda: len(call(page, token=token)[1]) == 1, 0.2)
        shown, told = seen(administrator, server, token, CHANGES)
        call(f"{server.url}/api/v1/namespaces/test", "DELETE", token=token)
        for number in range(NODES):
            administrator.ask("DELETE", f"/api/v1/nodes/said-{number}")

    result.figure("seen", "a pod's change until our page shows it / until `kubectl get --watch` tells it", "×", ratios(shown, told), goal=1.2)
    result.figure("seen-ms", "until our page shows it", "ms", spread(shown), digits=1)
    result.figure("told-ms", "until `kubectl get --watch` tells it", "ms", spread(told), digits=1)
    result.figure("page", f"page data of {PODS:,} pods: p90", "ms", spread(p90), goal=20, digits=1)
    result.figure("heard", f"reads of pods that the API server heard during {asked:,} page views", "", spread(heard), goal=0, digits=0)
    result.figure("pod", "memory of a mirrored pod", "KiB", spread([pods_kib]), goal=4, digits=1)
    result.figure("create", "`create_deployment` / `kubectl apply --server-side`", "×", ratios(ours, theirs), goal=1.0)
    result.figure("create-ms", "`create_deployment`", "ms", spread(ours), digits=0)
    tail = {"value": percentile(validated, 0.5), "low": min(validated), "high": max(validated)}
    result.figure("validated", "a file of 256 KiB is checked and refused", "ms", tail, goal=10, digits=1)
    result.figure("bomb", "a bomb of aliases is refused", "ms", spread(bombs), goal=200, digits=1)
    result.figure("bomb-memory", "memory that the bomb takes meanwhile", "MiB", spread(grown), goal=16, digits=1)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

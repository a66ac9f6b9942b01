/** The keys of manifests that people type most: for hints, not for judging; the cluster itself judges. */
import type { Schema } from "./schema";

/** What can be deployed. */
export const KINDS = [
  "Deployment",
  "StatefulSet",
  "DaemonSet",
  "Job",
  "CronJob",
  "Service",
  "ConfigMap",
  "Secret",
  "PersistentVolumeClaim",
  "Ingress",
];

const text = (description?: string): Schema => ({ type: "string", description });
const whole = (description?: string): Schema => ({ type: "integer", description });
const flag = (description?: string): Schema => ({ type: "boolean", description });
const one = (...choices: string[]): Schema => ({ type: "string", choices });
const list = (items: Schema, description?: string): Schema => ({ type: "array", items, description });
const map = (values: Schema, description?: string): Schema => ({ type: "object", values, description });
const object = (properties: Record<string, Schema>, description?: string): Schema => ({
  type: "object",
  properties,
  description,
});

const metadata = object({
  name: text("a-z, 0-9, -"),
  namespace: text(),
  labels: map(text(), "key: value"),
  annotations: map(text(), "key: value"),
});
const selector = object({ matchLabels: map(text(), "= template.metadata.labels") });
const amounts = object({ cpu: text("500m, 2"), memory: text("256Mi, 2Gi"), "nvidia.com/gpu": whole("1") });
const fromKey = object({ name: text(), key: text(), optional: flag() });
const env = object({
  name: text(),
  value: text('"1"'),
  valueFrom: object({
    configMapKeyRef: fromKey,
    secretKeyRef: fromKey,
    fieldRef: object({ fieldPath: one("metadata.name", "metadata.namespace", "status.podIP", "spec.nodeName") }),
  }),
});
const handler = {
  httpGet: object({ path: text("/"), port: whole("8000"), scheme: one("HTTP", "HTTPS") }),
  tcpSocket: object({ port: whole() }),
  exec: object({ command: list(text()) }),
};
const probe = object({
  ...handler,
  initialDelaySeconds: whole(),
  periodSeconds: whole(),
  timeoutSeconds: whole(),
  failureThreshold: whole(),
  successThreshold: whole(),
});
const container = object({
  name: text(),
  image: text("my-account/my-app:v1"),
  imagePullPolicy: one("IfNotPresent", "Always", "Never"),
  command: list(text()),
  args: list(text()),
  workingDir: text(),
  ports: list(object({ name: text(), containerPort: whole("8000"), protocol: one("TCP", "UDP") })),
  env: list(env),
  envFrom: list(
    object({ configMapRef: object({ name: text() }), secretRef: object({ name: text() }), prefix: text() }),
  ),
  resources: object({ requests: amounts, limits: amounts }),
  volumeMounts: list(object({ name: text(), mountPath: text("/data"), subPath: text(), readOnly: flag() })),
  readinessProbe: probe,
  livenessProbe: probe,
  startupProbe: probe,
  lifecycle: object({ preStop: object(handler), postStart: object(handler) }),
  securityContext: object({
    runAsUser: whole(),
    runAsNonRoot: flag(),
    readOnlyRootFilesystem: flag(),
    allowPrivilegeEscalation: flag(),
    capabilities: object({ drop: list(text("ALL")), add: list(text()) }),
  }),
  stdin: flag(),
  tty: flag(),
});
const keyPath = list(object({ key: text(), path: text() }));
const volume = object({
  name: text(),
  emptyDir: object({ medium: one("Memory"), sizeLimit: text("1Gi") }),
  configMap: object({ name: text(), items: keyPath, optional: flag() }),
  secret: object({ secretName: text(), items: keyPath, optional: flag() }),
  persistentVolumeClaim: object({ claimName: text(), readOnly: flag() }),
});
const pod = object({
  containers: list(container),
  initContainers: list(container),
  volumes: list(volume),
  restartPolicy: one("Always", "OnFailure", "Never"),
  terminationGracePeriodSeconds: whole(),
  nodeSelector: map(text()),
  tolerations: list(
    object({
      key: text(),
      operator: one("Exists", "Equal"),
      value: text(),
      effect: one("NoSchedule", "PreferNoSchedule", "NoExecute"),
    }),
  ),
  imagePullSecrets: list(object({ name: text() })),
  securityContext: object({ runAsUser: whole(), runAsGroup: whole(), runAsNonRoot: flag(), fsGroup: whole() }),
  serviceAccountName: text(),
  hostname: text(),
});
const template = object({ metadata: object({ labels: map(text()), annotations: map(text()) }), spec: pod });
const claim = {
  accessModes: list(one("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")),
  resources: object({ requests: object({ storage: text("10Gi") }) }),
  storageClassName: text(),
  volumeMode: one("Filesystem", "Block"),
};
const rolling = object({ maxSurge: text("25%"), maxUnavailable: text("25%") });
const job = {
  template,
  backoffLimit: whole(),
  completions: whole(),
  parallelism: whole(),
  activeDeadlineSeconds: whole(),
  ttlSecondsAfterFinished: whole(),
  suspend: flag(),
};

const specs: Record<string, Record<string, Schema>> = {
  Deployment: {
    replicas: whole("1"),
    selector,
    template,
    strategy: object({ type: one("RollingUpdate", "Recreate"), rollingUpdate: rolling }),
    minReadySeconds: whole(),
    progressDeadlineSeconds: whole(),
    revisionHistoryLimit: whole(),
    paused: flag(),
  },
  StatefulSet: {
    replicas: whole("1"),
    serviceName: text(),
    selector,
    template,
    volumeClaimTemplates: list(object({ metadata, spec: object(claim) })),
    podManagementPolicy: one("OrderedReady", "Parallel"),
    updateStrategy: object({ type: one("RollingUpdate", "OnDelete") }),
  },
  DaemonSet: { selector, template, updateStrategy: object({ type: one("RollingUpdate", "OnDelete") }) },
  Job: job,
  CronJob: {
    schedule: text('"0 3 * * *"'),
    timeZone: text("Asia/Shanghai"),
    concurrencyPolicy: one("Allow", "Forbid", "Replace"),
    jobTemplate: object({ spec: object(job) }),
    suspend: flag(),
    successfulJobsHistoryLimit: whole(),
    failedJobsHistoryLimit: whole(),
    startingDeadlineSeconds: whole(),
  },
  Service: {
    type: one("ClusterIP", "NodePort"),
    selector: map(text(), "= labels"),
    ports: list(
      object({
        name: text(),
        port: whole("80"),
        targetPort: whole("8000"),
        nodePort: whole(),
        protocol: one("TCP", "UDP"),
      }),
    ),
    clusterIP: text("None"),
    sessionAffinity: one("None", "ClientIP"),
  },
  PersistentVolumeClaim: claim,
  Ingress: {
    rules: list(
      object({
        host: text("web.alice.apps.example.org"),
        http: object({
          paths: list(
            object({
              path: text("/"),
              pathType: one("Prefix", "Exact"),
              backend: object({
                service: object({ name: text(), port: object({ number: whole("80"), name: text() }) }),
              }),
            }),
          ),
        }),
      }),
    ),
    tls: list(object({ hosts: list(text()), secretName: text() })),
  },
};

const versions: Record<string, string> = {
  Deployment: "apps/v1",
  StatefulSet: "apps/v1",
  DaemonSet: "apps/v1",
  Job: "batch/v1",
  CronJob: "batch/v1",
  Ingress: "networking.k8s.io/v1",
};

/** What a document of this kind may hold; of none in particular when the kind is not known. */
export function manifestSchema(kind: string): Schema {
  const spec = Object.hasOwn(specs, kind) ? specs[kind] : undefined;
  const isKnown = KINDS.includes(kind);
  const properties: Record<string, Schema> = {
    apiVersion: one(...(isKnown ? [versions[kind] ?? "v1"] : ["apps/v1", "batch/v1", "networking.k8s.io/v1", "v1"])),
    kind: one(...KINDS),
    metadata,
  };
  if (spec) properties.spec = object(spec);
  else if (!isKnown) properties.spec = { type: "object" };
  if (kind === "ConfigMap" || kind === "Secret") properties.data = map(text(), "key: value");
  if (kind === "Secret") {
    properties.stringData = map(text(), "key: value");
    properties.type = one("Opaque", "kubernetes.io/tls", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth");
  }
  return { type: "object", properties, required: ["apiVersion", "kind", "metadata"] };
}

/** The kind that the lines of a document name. */
export const kindOf = (lines: string[]): string =>
  lines.map((line) => /^kind:\s*["']?(\w+)/.exec(line)?.[1]).find((it) => it !== undefined) ?? "";

const deployment = (name: string, image: string) => `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${name}
spec:
  replicas: 1
  selector:
    matchLabels: { app: ${name} }
  template:
    metadata:
      labels: { app: ${name} }
    spec:
      containers:
        - name: ${name}
          image: ${image}
          ports:
            - containerPort: 8000
`;
const service = (name: string) => `apiVersion: v1
kind: Service
metadata:
  name: ${name}
spec:
  type: NodePort
  selector: { app: ${name} }
  ports:
    - port: 80
      targetPort: 8000
`;

/** Texts to begin with. */
export const examples: Record<"deployment" | "service" | "job" | "config" | "claim", (image: string) => string> = {
  deployment: (image) => deployment("my-app", image),
  service: (image) => `${deployment("my-app", image)}---\n${service("my-app")}`,
  job: (image) => `apiVersion: batch/v1
kind: Job
metadata:
  name: my-job
spec:
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: my-job
          image: ${image}
`,
  config: () => `apiVersion: v1
kind: ConfigMap
metadata:
  name: my-config
data:
  greeting: hello
`,
  claim: () => `apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: my-data
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 1Gi
`,
};

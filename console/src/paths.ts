/** Every address of the console. */
export const paths = {
  home: "/ui/overview",
  images: "/ui/images",
  upload: "/ui/images/upload",
  image: (id: number) => `/ui/images/${id}`,
  build: (id: string) => `/ui/builds/${encodeURIComponent(id)}`,
  builds: "/ui/builds",
  containers: "/ui/containers",
  containerNew: (image?: string) => `/ui/containers/new${image ? `?image=${encodeURIComponent(image)}` : ""}`,
  container: (id: number, tab?: string) => `/ui/containers/${id}${tab ? `/${tab}` : ""}`,
  keptLogs: "/ui/kept-logs",
  kubernetes: "/ui/kubernetes",
  apply: (asked: { namespace?: string; image?: string; workload?: string } = {}) => {
    const search = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
    return `/ui/kubernetes/apply${search.size > 0 ? `?${search}` : ""}`;
  },
  namespace: (name: string) => `/ui/kubernetes/namespaces/${encodeURIComponent(name)}`,
  pod: (namespace: string, pod: string) =>
    `/ui/kubernetes/namespaces/${encodeURIComponent(namespace)}?${new URLSearchParams({ pod, show: "log" })}`,
  /** What a service in a cluster shows. */
  app: (namespace: string, service: string, port: number) =>
    `/app/${encodeURIComponent(namespace)}/${encodeURIComponent(service)}/${port}/`,
  workload: (id: string) => `/ui/kubernetes/workloads/${encodeURIComponent(id)}`,
  pipelines: "/ui/pipelines",
  gitRepo: (id: number) => `/ui/pipelines/repos/${id}`,
  run: (id: number) => `/ui/pipelines/runs/${id}`,
  charts: "/ui/charts",
  chartRepos: "/ui/charts/repos",
  chartRepo: (id: string) => `/ui/charts/repos/${encodeURIComponent(id)}`,
  chartsOf: (repo: string) => `/ui/charts?repo=${encodeURIComponent(repo)}`,
  chart: (repo: string, name: string, version?: string) =>
    `/ui/charts/of/${encodeURIComponent(repo)}/${encodeURIComponent(name)}${version ? `?version=${encodeURIComponent(version)}` : ""}`,
  releases: "/ui/releases",
  releaseNew: (repo: string, chart: string, version: string) =>
    `/ui/releases/new?${new URLSearchParams({ repo, chart, version })}`,
  release: (id: string) => `/ui/releases/${encodeURIComponent(id)}`,
  releaseUpgrade: (id: string) => `/ui/releases/${encodeURIComponent(id)}/upgrade`,
  volumes: "/ui/volumes",
  machines: "/ui/machines",
  accounts: "/ui/admin/accounts",
  audit: "/ui/admin/audit",
  installation: "/ui/admin/installation",
  settings: "/ui/admin/settings",
  me: "/ui/me",
  apiDocs: "/api/docs",
};

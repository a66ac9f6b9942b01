/** What pages read. A key begins with the kind of thing, so that what happens to it finds its way (see live.ts). */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, call, everyRow, type Schemas } from "./client";

const paged = (offset: number, limit: number) => ({ offset, limit });

export const queries = {
  me: () =>
    queryOptions({ queryKey: ["me"], queryFn: () => call(api.GET("/api/v1/me")), retry: false, staleTime: 60_000 }),

  containers: (all = false) =>
    queryOptions({
      queryKey: ["containers", { all }],
      queryFn: async () => {
        const page = (offset: number, limit: number) =>
          call(api.GET("/api/v1/containers", { params: { query: { all, ...paged(offset, limit) } } }));
        const data = await everyRow(page);
        return { data, total: data.length, limit: data.length, offset: 0 };
      },
    }),
  containerUses: (all = false) =>
    queryOptions({
      queryKey: ["container-uses", { all }],
      queryFn: () => call(api.GET("/api/v1/container-uses", { params: { query: { all } } })),
      // Machines look every 15 seconds.
      refetchInterval: 10_000,
    }),
  containerEvents: (id: number) =>
    queryOptions({
      queryKey: ["container", String(id), "events"],
      queryFn: () => call(api.GET("/api/v1/containers/{id}/events", { params: { path: { id: String(id) } } })),
    }),
  container: (id: number) =>
    queryOptions({
      queryKey: ["container", String(id)],
      queryFn: () => call(api.GET("/api/v1/containers/{id}", { params: { path: { id: String(id) } } })),
    }),

  images: () =>
    queryOptions({
      queryKey: ["images"],
      queryFn: async () => {
        const data = await everyRow((offset, limit) =>
          call(api.GET("/api/v1/images", { params: { query: paged(offset, limit) } })),
        );
        return { data, total: data.length, limit: data.length, offset: 0 };
      },
    }),
  image: (id: number) =>
    queryOptions({
      queryKey: ["image", String(id)],
      queryFn: () => call(api.GET("/api/v1/images/{id}", { params: { path: { id } } })),
    }),
  heldBy: (id: number) =>
    queryOptions({
      queryKey: ["held-by", id],
      queryFn: () => call(api.GET("/api/v1/images/{id}/machines", { params: { path: { id } } })),
      refetchInterval: 3000,
    }),
  tree: (id: number) =>
    queryOptions({
      queryKey: ["dependents", "tree", id],
      queryFn: () => call(api.GET("/api/v1/images/{id}/tree", { params: { path: { id } } })),
    }),
  dependents: (id: number) =>
    queryOptions({
      queryKey: ["dependents", id],
      queryFn: () => call(api.GET("/api/v1/images/{id}/dependents", { params: { path: { id } } })),
    }),

  builds: (limit = 200) =>
    queryOptions({
      queryKey: ["builds", limit],
      queryFn: () => call(api.GET("/api/v1/builds", { params: { query: { limit } } })),
    }),
  build: (id: string) =>
    queryOptions({
      queryKey: ["build", id],
      queryFn: () => call(api.GET("/api/v1/builds/{id}", { params: { path: { id } } })),
    }),

  machines: () =>
    queryOptions({
      queryKey: ["machines"],
      queryFn: () => call(api.GET("/api/v1/machines", { params: { query: { limit: 1000 } } })),
    }),
  gpus: () =>
    queryOptions({
      queryKey: ["gpus"],
      queryFn: () => call(api.GET("/api/v1/gpus", { params: { query: { limit: 1000 } } })),
      refetchInterval: 5000,
    }),
  queue: () =>
    queryOptions({
      queryKey: ["queue"],
      queryFn: () => call(api.GET("/api/v1/queue", { params: { query: { limit: 500 } } })),
      refetchInterval: 15_000,
    }),
  quota: (account: string) =>
    queryOptions({
      queryKey: ["quota", account],
      queryFn: () => call(api.GET("/api/v1/accounts/{account}/quota", { params: { path: { account } } })),
    }),
  keptLogs: () =>
    queryOptions({
      queryKey: ["kept-logs"],
      queryFn: () => call(api.GET("/api/v1/kept-logs", { params: { query: { limit: 500 } } })),
    }),
  volumes: () =>
    queryOptions({
      queryKey: ["volumes"],
      queryFn: () => call(api.GET("/api/v1/volumes", { params: { query: { limit: 1000 } } })),
    }),
  clusters: () =>
    queryOptions({
      queryKey: ["clusters"],
      queryFn: () => call(api.GET("/api/v1/clusters", { params: { query: { limit: 100 } } })),
    }),
  nodes: () =>
    queryOptions({ queryKey: ["nodes"], queryFn: () => call(api.GET("/api/v1/nodes")), refetchInterval: 30_000 }),
  namespaces: () =>
    queryOptions({
      queryKey: ["namespaces"],
      queryFn: () => call(api.GET("/api/v1/namespaces", { params: { query: { limit: 500 } } })),
    }),
  namespace: (namespace: string) =>
    queryOptions({
      queryKey: ["namespace", namespace],
      queryFn: () => call(api.GET("/api/v1/namespaces/{namespace}", { params: { path: { namespace } } })),
    }),
  namespaceQuota: (namespace: string) =>
    queryOptions({
      queryKey: ["namespace", namespace, "quota"],
      queryFn: () => call(api.GET("/api/v1/namespaces/{namespace}/quota", { params: { path: { namespace } } })),
      refetchInterval: 15_000,
    }),
  namespaceEvents: (namespace: string) =>
    queryOptions({
      queryKey: ["namespace", namespace, "events"],
      queryFn: () => call(api.GET("/api/v1/namespaces/{namespace}/events", { params: { path: { namespace } } })),
      refetchInterval: 15_000,
    }),
  pods: (namespace: string) =>
    queryOptions({
      queryKey: ["pods", namespace],
      queryFn: () => call(api.GET("/api/v1/namespaces/{namespace}/pods", { params: { path: { namespace } } })),
      // Pods are not among what is told of by itself, only the workloads that they belong to.
      refetchInterval: 10_000,
    }),
  workloads: () =>
    queryOptions({
      queryKey: ["workloads"],
      queryFn: () => call(api.GET("/api/v1/workloads", { params: { query: { limit: 500 } } })),
    }),
  workload: (id: string) =>
    queryOptions({
      queryKey: ["workload", id],
      queryFn: () => call(api.GET("/api/v1/workloads/{id}", { params: { path: { id } } })),
    }),
  revisions: (id: string) =>
    queryOptions({
      queryKey: ["revisions", id],
      queryFn: () => call(api.GET("/api/v1/workloads/{id}/revisions", { params: { path: { id } } })),
    }),
  gitRepos: () =>
    queryOptions({
      queryKey: ["git-repos"],
      queryFn: () => call(api.GET("/api/v1/git-repos", { params: { query: { limit: 500 } } })),
    }),
  gitRepo: (id: number) =>
    queryOptions({
      queryKey: ["git-repo", String(id)],
      queryFn: () => call(api.GET("/api/v1/git-repos/{id}", { params: { path: { id } } })),
    }),
  deliveries: (id: number) =>
    queryOptions({
      queryKey: ["git-repo", String(id), "deliveries"],
      queryFn: () => call(api.GET("/api/v1/git-repos/{id}/deliveries", { params: { path: { id } } })),
      refetchInterval: 10_000,
    }),
  notifications: (id: number) =>
    queryOptions({
      queryKey: ["git-repo", String(id), "notifications"],
      queryFn: () => call(api.GET("/api/v1/git-repos/{id}/notifications", { params: { path: { id } } })),
    }),
  runs: (git_repo_id?: number) =>
    queryOptions({
      queryKey: ["runs", String(git_repo_id ?? "all")],
      queryFn: () => call(api.GET("/api/v1/runs", { params: { query: { git_repo_id, limit: 50 } } })),
    }),
  run: (id: number) =>
    queryOptions({
      queryKey: ["run", String(id)],
      queryFn: () => call(api.GET("/api/v1/runs/{id}", { params: { path: { id } } })),
    }),
  chartKeys: (repo?: string) =>
    queryOptions({
      queryKey: ["chart-keys", repo ?? ""],
      queryFn: () => call(api.GET("/api/v1/chart-keys", { params: { query: { repo } } })),
    }),
  chartRepos: () =>
    queryOptions({
      queryKey: ["chart-repos"],
      queryFn: () => call(api.GET("/api/v1/chart-repos", { params: { query: { limit: 500 } } })),
      refetchInterval: 5000,
    }),
  chartRepo: (id: string) =>
    queryOptions({
      queryKey: ["chart-repo", id],
      queryFn: () => call(api.GET("/api/v1/chart-repos/{id}", { params: { path: { id } } })),
      refetchInterval: 5000,
    }),
  chartSyncs: (id: string) =>
    queryOptions({
      queryKey: ["chart-repo", id, "syncs"],
      queryFn: () =>
        call(api.GET("/api/v1/chart-repos/{id}/syncs", { params: { path: { id }, query: { limit: 50 } } })),
      refetchInterval: (query) => (query.state.data?.data.some((it) => !it.ended_at) ? 1000 : 5000),
    }),
  charts: (filter: { search?: string; repo?: string }, limit: number) =>
    queryOptions({
      queryKey: ["charts", filter, limit],
      queryFn: () => call(api.GET("/api/v1/charts", { params: { query: { ...filter, limit } } })),
      // What was found stays in sight while more of it is looked for.
      placeholderData: keepPreviousData,
    }),
  chart: (repo: string, chart: string) =>
    queryOptions({
      queryKey: ["chart", repo, chart],
      queryFn: () => call(api.GET("/api/v1/charts/{repo}/{chart}", { params: { path: { repo, chart } } })),
    }),
  chartVersions: (repo: string, chart: string, limit: number) =>
    queryOptions({
      queryKey: ["chart", repo, chart, "versions", limit],
      queryFn: () =>
        call(
          api.GET("/api/v1/charts/{repo}/{chart}/versions", { params: { path: { repo, chart }, query: { limit } } }),
        ),
      placeholderData: keepPreviousData,
    }),
  chartContent: (repo: string, chart: string, version: string) =>
    queryOptions({
      queryKey: ["chart", repo, chart, "content", version],
      queryFn: () =>
        call(
          api.GET("/api/v1/charts/{repo}/{chart}/versions/{version}", { params: { path: { repo, chart, version } } }),
        ),
      staleTime: 300_000,
    }),
  chartProvenance: (repo: string, chart: string, version: string) =>
    queryOptions({
      queryKey: ["chart", repo, chart, "provenance", version],
      queryFn: () =>
        call(
          api.GET("/api/v1/charts/{repo}/{chart}/versions/{version}/provenance", {
            params: { path: { repo, chart, version } },
          }),
        ),
      staleTime: 300_000,
      retry: false,
    }),
  valuesForm: (repo: string, chart: string, version: string) =>
    queryOptions({
      queryKey: ["chart", repo, chart, "values-form", version],
      queryFn: () =>
        call(
          api.GET("/api/v1/charts/{repo}/{chart}/versions/{version}/values-form", {
            params: { path: { repo, chart, version } },
          }),
        ),
      staleTime: 300_000,
    }),
  releases: () =>
    queryOptions({
      queryKey: ["releases"],
      queryFn: () => call(api.GET("/api/releases", { params: { query: { limit: 500 } } })),
    }),
  release: (id: string) =>
    queryOptions({
      queryKey: ["release", id],
      queryFn: () => call(api.GET("/api/releases/{id}", { params: { path: { id } } })),
    }),
  /** The revision is only there to read anew when there is another one. */
  releaseHistory: (id: string, revision: number) =>
    queryOptions({
      queryKey: ["release", id, "history", revision],
      queryFn: () => call(api.GET("/api/releases/{id}/history", { params: { path: { id }, query: { limit: 50 } } })),
    }),
  releaseValues: (id: string, revision?: number) =>
    queryOptions({
      queryKey: ["release", id, "values", revision],
      queryFn: () => call(api.GET("/api/releases/{id}/values", { params: { path: { id }, query: { revision } } })),
    }),
  invites: () =>
    queryOptions({
      queryKey: ["invites"],
      queryFn: () => call(api.GET("/api/v1/invites", { params: { query: { limit: 200 } } })),
    }),

  settings: () => queryOptions({ queryKey: ["settings"], queryFn: () => call(api.GET("/api/v1/settings")) }),
  readiness: () =>
    queryOptions({
      queryKey: ["readiness"],
      // Also its refusal says how each part is.
      queryFn: async (): Promise<Schemas["Readiness"]> => (await fetch("/readyz", { cache: "no-store" })).json(),
      refetchInterval: 10_000,
    }),
  collections: () =>
    queryOptions({
      queryKey: ["collections"],
      queryFn: () => call(api.GET("/api/v1/registry/collections", { params: { query: { limit: 20 } } })),
      refetchInterval: 5000,
    }),
  accounts: () =>
    queryOptions({
      queryKey: ["accounts"],
      queryFn: () =>
        everyRow((offset, limit) => call(api.GET("/api/v1/accounts", { params: { query: paged(offset, limit) } }))),
    }),
  audit: (filter: { actor?: string; search?: string }, limit: number) =>
    queryOptions({
      queryKey: ["audit", filter, limit],
      queryFn: () => call(api.GET("/api/v1/audit", { params: { query: { ...filter, limit } } })),
    }),
  tokens: () =>
    queryOptions({
      queryKey: ["tokens"],
      queryFn: () => call(api.GET("/api/v1/tokens", { params: { query: { limit: 200 } } })),
    }),
  authParams: () =>
    queryOptions({ queryKey: ["auth-params"], queryFn: () => call(api.GET("/api/auth/params")), staleTime: 300_000 }),
};

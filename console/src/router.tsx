/** Which address shows which page. Pages beyond the first come when they are opened. */
import { createBrowserRouter, type RouteObject, redirect, useRouteError } from "react-router";
import { again } from "./api/again";
import { useText } from "./i18n";
import { Overview } from "./pages/overview";
import { PageHead, Skeleton, Trouble } from "./parts/basic";
import { paths } from "./paths";
import { Shell } from "./shell/shell";

function Broken() {
  const error = useRouteError();
  return (
    <main className="page">
      <Trouble error={error} onRetry={() => window.location.reload()} />
    </main>
  );
}

function Missing() {
  const { t } = useText();
  return <PageHead title={t("page.missing")} crumb={{ to: paths.home, name: t("nav.overview") }} />;
}

const pages: RouteObject[] = [
  { index: true, loader: () => redirect(paths.home) },
  { path: "overview", element: <Overview /> },
  { path: "images", lazy: async () => ({ Component: (await again(() => import("./pages/images/list"))).Images }) },
  {
    path: "images/upload",
    lazy: async () => ({ Component: (await again(() => import("./pages/images/upload"))).Upload }),
  },
  {
    path: "images/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/images/detail"))).ImageDetail }),
  },
  { path: "builds", lazy: async () => ({ Component: (await again(() => import("./pages/images/builds"))).Builds }) },
  {
    path: "builds/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/images/build"))).BuildDetail }),
  },
  {
    path: "containers",
    lazy: async () => ({ Component: (await again(() => import("./pages/containers/list"))).Containers }),
  },
  {
    path: "containers/new",
    lazy: async () => ({ Component: (await again(() => import("./pages/containers/create"))).ContainerNew }),
  },
  {
    path: "containers/:id/:tab?",
    lazy: async () => ({ Component: (await again(() => import("./pages/containers/detail"))).ContainerDetail }),
  },
  {
    path: "kept-logs",
    lazy: async () => ({ Component: (await again(() => import("./pages/containers/kept"))).KeptLogs }),
  },
  {
    path: "kubernetes",
    lazy: async () => ({ Component: (await again(() => import("./pages/kubernetes/list"))).Kubernetes }),
  },
  {
    path: "kubernetes/apply",
    lazy: async () => ({ Component: (await again(() => import("./pages/kubernetes/apply"))).Apply }),
  },
  {
    path: "kubernetes/namespaces/:name",
    lazy: async () => ({ Component: (await again(() => import("./pages/kubernetes/namespace"))).NamespaceDetail }),
  },
  {
    path: "kubernetes/workloads/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/kubernetes/workload"))).WorkloadDetail }),
  },
  {
    path: "pipelines",
    lazy: async () => ({ Component: (await again(() => import("./pages/pipelines/list"))).Pipelines }),
  },
  {
    path: "pipelines/repos/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/pipelines/repo"))).GitRepoDetail }),
  },
  {
    path: "pipelines/runs/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/pipelines/run"))).RunDetail }),
  },
  {
    path: "charts",
    lazy: async () => ({ Component: (await again(() => import("./pages/charts/catalogue"))).Catalogue }),
  },
  {
    path: "charts/repos",
    lazy: async () => ({ Component: (await again(() => import("./pages/charts/repos"))).ChartRepos }),
  },
  {
    path: "charts/repos/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/charts/repo"))).ChartRepoDetail }),
  },
  {
    path: "charts/of/:repo/:chart",
    lazy: async () => ({ Component: (await again(() => import("./pages/charts/chart"))).ChartDetail }),
  },
  {
    path: "releases",
    lazy: async () => ({ Component: (await again(() => import("./pages/releases/list"))).Releases }),
  },
  {
    path: "releases/new",
    lazy: async () => ({ Component: (await again(() => import("./pages/releases/edit"))).ReleaseNew }),
  },
  {
    path: "releases/:id",
    lazy: async () => ({ Component: (await again(() => import("./pages/releases/detail"))).ReleaseDetail }),
  },
  {
    path: "releases/:id/upgrade",
    lazy: async () => ({ Component: (await again(() => import("./pages/releases/edit"))).ReleaseUpgrade }),
  },
  {
    path: "volumes",
    lazy: async () => ({ Component: (await again(() => import("./pages/containers/volumes"))).Volumes }),
  },
  {
    path: "machines",
    lazy: async () => ({ Component: (await again(() => import("./pages/machines/list"))).Machines }),
  },
  {
    path: "admin/accounts",
    lazy: async () => ({ Component: (await again(() => import("./pages/admin/accounts"))).Accounts }),
  },
  { path: "admin/audit", lazy: async () => ({ Component: (await again(() => import("./pages/admin/audit"))).Audit }) },
  {
    path: "admin/installation",
    lazy: async () => ({ Component: (await again(() => import("./pages/admin/installation"))).Installation }),
  },
  {
    path: "admin/settings",
    lazy: async () => ({ Component: (await again(() => import("./pages/admin/settings"))).Settings }),
  },
  { path: "me", lazy: async () => ({ Component: (await again(() => import("./pages/me"))).Me }) },
];

export const router = createBrowserRouter([
  { path: "/", loader: () => redirect(paths.home) },
  {
    path: "/ui",
    element: <Shell />,
    errorElement: <Broken />,
    hydrateFallbackElement: <Skeleton />,
    children: [{ errorElement: <Broken />, children: [...pages, { path: "*", element: <Missing /> }] }],
  },
]);

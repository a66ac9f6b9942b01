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
  volumes: "/ui/volumes",
  machines: "/ui/machines",
  accounts: "/ui/admin/accounts",
  audit: "/ui/admin/audit",
  installation: "/ui/admin/installation",
  me: "/ui/me",
  apiDocs: "/api/docs",
};

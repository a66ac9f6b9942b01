/** Opens what a service shows, port by port. */
import type { Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { paths } from "../../paths";

export function OpenService({ workload: it, small }: { workload: Schemas["WorkloadView"]; small?: boolean }) {
  const { t } = useText();
  if (it.kind !== "Service" || it.state !== "ready") return null;
  return it.ports.map(({ port }) => (
    <a
      key={port}
      className={`button${small ? " small" : " main"}`}
      href={paths.app(it.namespace, it.name, port)}
      target="_blank"
      rel="noreferrer"
    >
      {it.ports.length > 1 ? `${t("container.open")} :${port}` : t("container.open")}
    </a>
  ));
}

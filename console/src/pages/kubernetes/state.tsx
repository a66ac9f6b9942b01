/** How a workload is, in a word. */
import type { Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Badge } from "../../parts/basic";
import { workloadTone } from "../../states";

export function WorkloadBadge({ workload: it }: { workload: Schemas["WorkloadView"] }) {
  const { word } = useText();
  const words = [word("workload", it.state), it.replicas && `${it.replicas.ready}/${it.replicas.desired}`];
  return (
    <Badge tone={workloadTone(it.state)} title={it.message ?? undefined}>
      {words.filter(Boolean).join(" · ")}
    </Badge>
  );
}

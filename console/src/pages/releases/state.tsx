/** How a release is, in a word. */
import type { Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Badge, type Tone } from "../../parts/basic";

type State = Schemas["ReleaseState"];

const tones: Record<State, Tone> = {
  "pending-install": "busy",
  "pending-upgrade": "busy",
  "pending-rollback": "busy",
  uninstalling: "busy",
  deployed: "good",
  failed: "bad",
};

export function ReleaseBadge({ release: it }: { release: { state: State; message?: string | null } }) {
  const { t } = useText();
  return (
    <Badge tone={tones[it.state] ?? "idle"} title={it.message ?? undefined}>
      {t(`release.${it.state}`)}
    </Badge>
  );
}

/** Whether something is being done to it. */
export const isUnderWay = (operation: Schemas["ReleaseOperationView"] | null | undefined): boolean =>
  operation != null && !operation.ended_at;
